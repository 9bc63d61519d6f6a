"""Students that answer by looking for the names of their labels, and servers of them in a thread."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from pathlib import Path

import numpy as np

from tutelage_runtime.bundle import Question
from tutelage_runtime.serving.options import Options
from tutelage_runtime.serving.server import Server
from tutelage_runtime.serving.students import Source
from tutelage_runtime.student import Answers

SURE = 0.9


class Fake:
    """Sure of the label that a text names; of none of them where it names none."""

    def __init__(
        self, *labels, instructions=None, descriptions=None, version="v1", wait=0.0, fails=None
    ):
        self.question = Question(tuple(labels), descriptions or {}, instructions)
        self.version = version
        self.wait, self.fails = wait, fails
        self.calls = []
        self.gate = threading.Event()
        """Calls wait for it; `shut` lets them."""
        self.gate.set()

    def answer(self, texts):
        self.calls.append(list(texts))
        assert self.gate.wait(20)
        if self.wait:
            time.sleep(self.wait)
        if self.fails is not None and any(self.fails in text for text in texts):
            raise RuntimeError("a text of a stranger")
        number = len(self.question.labels)
        probs = np.full((len(texts), number), 1 / number, np.float32)
        for row, text in enumerate(texts):
            for column, label in enumerate(self.question.labels):
                if label in text:
                    probs[row] = (1 - SURE) / (number - 1)
                    probs[row, column] = SURE
        return Answers(probs, probs)


def shut(student):
    """Have the next calls of a student wait."""
    student.gate.clear()
    return student


class Running:
    """A server in a thread."""

    def __init__(self, server, lines, loop, students):
        self.server, self.lines, self.loop, self.students = server, lines, loop, students

    @property
    def port(self):
        return self.server.port

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def ask(self, path, body=None, *, headers=None, method=None):
        """Status, parsed body, headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            given = {} if body is None else {"Content-Type": "application/json"}
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            method = method or ("GET" if body is None else "POST")
            connection.request(method, path, body, given | (headers or {}))
            reply = connection.getresponse()
            data = reply.read()
            kind = reply.headers.get("content-type", "")
            return reply.status, json.loads(data) if "json" in kind else data, reply.headers

    def requests_logged(self):
        return [fields for event, fields in self.lines if event == "request"]


@contextlib.contextmanager
def running(students, *, around=None, predicates=None, **options):
    """A server of students by name, on a free port."""
    lines = []

    def log(event, /, *, level="info", **fields):
        lines.append((event, fields | {"level": level}))

    server = Server(
        Options(port=0, **options),
        [Source(Path(name)) for name in students],
        predicates=predicates,
        load=lambda folder: (folder.name, students[folder.name]),
        around=around,
        log=log,
    )
    loop = asyncio.new_event_loop()
    failed = []

    def work():
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(server.serve())
        except BaseException as error:
            failed.append(error)
        finally:
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while server.port is None and thread.is_alive():
            time.sleep(0.005)
        if failed:
            raise failed[0]
        yield Running(server, lines, loop, students)
    finally:
        if thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                loop.call_soon_threadsafe(server.stop)
            thread.join(30)
        assert not thread.is_alive()


def choice(*options, instructions="Which?", name=None):
    """A choice question as OpenAI's API takes it."""
    question = {
        "type": "choice",
        "instructions": instructions,
        "choices": [{"value": option} for option in options],
    }
    return question | ({} if name is None else {"name": name})


def decision(text, *questions):
    """A body of /v1/decisions."""
    return {"model": "any", "input": text, "questions": list(questions)}
