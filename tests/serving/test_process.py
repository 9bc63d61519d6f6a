"""The command as a process, with a real exported student: signals, reloads, wrong input."""

import http.client
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.runtime.tiny_bundles import describe, write_tokens
from tests.serving.load import Load

from tutelage.students.vocabulary.training import train_tokenizer
from tutelage_runtime.session import load

TEXTS = ["A fine film, and a fine evening.", "The plot is thin; the acting thinner!"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    tokenizer = train_tokenizer(TEXTS, kind="wordpiece", vocabulary_size=80).backend_tokenizer
    return write_tokens(tmp_path_factory.mktemp("exported") / "tiny", tokenizer)


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "tiny")


class Process:
    """`python -m tutelage_runtime serve` with its log."""

    def __init__(self, *words):
        command = [sys.executable, "-m", "tutelage_runtime", "serve", "--port", "0", *words]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self.port = int(self.wait_for("serving")["url"].rpartition(":")[2])

    def wait_for(self, event):
        for line in self.process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(f"the process ended: {self.lines}")

    def send(self, number):
        self.process.send_signal(number)

    def end(self):
        rest = self.process.stderr.read()
        self.lines += [json.loads(line) for line in rest.splitlines()]
        self.process.stderr.close()
        return self.process.wait(20)


@pytest.fixture
def serve():
    started = []

    def start(*words):
        started.append(Process(*words))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.end()


def ask(port, text):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(
        "POST", "/classify", json.dumps({"input": text}), {"Content-Type": "application/json"}
    )
    value = json.loads(connection.getresponse().read())
    connection.close()
    return value


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_loses_no_answer_and_ends_with_0(serve, folder, number):
    process = serve(str(folder), "--quiet")
    load = Load(process.port)
    time.sleep(0.5)
    process.send(number)
    code = process.end()
    load.stop()
    assert code == 0
    assert load.lost == load.wrong == []
    assert load.answers
    assert [line["event"] for line in process.lines] == ["serving", "draining", "stopped"]


def test_a_connection_that_is_kept_alive_may_bring_a_last_request(serve, folder):
    process = serve(str(folder))
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=20)
    connection.request("GET", "/ready")
    assert connection.getresponse().read().startswith(b'{"status":"ready"')
    process.send(signal.SIGTERM)
    process.wait_for("draining")
    time.sleep(0.12)  # longer than uvicorn, left to itself, takes to close what is idle
    connection.request("GET", "/ready")
    reply = connection.getresponse()
    assert (reply.status, reply.headers["connection"]) == (503, "close")
    assert json.loads(reply.read()) == {"status": "draining"}
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection("127.0.0.1", process.port, timeout=20).connect()
    assert process.end() == 0


def test_what_is_served_is_what_the_student_says(serve, folder):
    process = serve(str(folder))
    student = load(folder)
    for text in (*TEXTS, "", "naïve 𝒽 \u0301", "x " * 500):
        found = ask(process.port, text)
        assert found["data"][0]["probs"] == pytest.approx(student.probs([text])[0].tolist())
    assert found["model"] == f"tutelage/tiny@{student.version}"


def test_sighup_takes_over_what_was_exported_anew_and_refuses_what_is_broken(serve, folder):
    process = serve(str(folder), "--quiet")
    before = ask(process.port, "fine")
    loaded = Load(process.port)
    describe(folder, temperature=3.0)
    process.send(signal.SIGHUP)
    process.wait_for("reloaded")
    after = ask(process.port, "fine")
    (folder / "model.onnx").write_bytes(b"none")
    process.send(signal.SIGHUP)
    refused = process.wait_for("reload_refused")
    assert ask(process.port, "fine")["data"] == after["data"]
    loaded.stop()
    process.send(signal.SIGTERM)
    assert process.end() == 0
    assert loaded.lost == loaded.wrong == []
    assert before["model"] != after["model"]
    assert max(before["data"][0]["probs"]) > max(after["data"][0]["probs"])
    assert "SHA-256" in refused["message"]


def test_watched_folders_are_loaded_anew_by_themselves(serve, folder):
    process = serve(str(folder), "--watch")
    before = ask(process.port, "fine")["model"]
    describe(folder, temperature=3.0)
    process.wait_for("reloaded")
    assert ask(process.port, "fine")["model"] != before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{tmp}/nowhere"], "has no student.json"),
        (["{folder}", "{folder}"], "two students are called 'tiny'"),
        (["{folder}", "again={folder}"], "answer the same question"),
        (["{folder}", "--host", "0.0.0.0"], "--token-env NAME"),
        (["{folder}", "--token-env", "NOT_SET_ANYWHERE"], "is not set"),
        (["{folder}", "--host", "203.0.113.1", "--no-token"], "cannot listen at 203.0.113.1"),
        (["{folder}", "--predicates", "{tmp}/none.json"], "cannot be read"),
        (["{folder}", "--port", "x"], "whole number from 0 to 65,535"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(folder, tmp_path, words, said, capsys, monkeypatch):
    from tutelage_runtime.serving.command import main

    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    try:
        code = main([word.format(tmp=tmp_path, folder=folder) for word in words])
    except SystemExit as left:
        code = left.code
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert said in lines[-1]
    assert "--port" in words or len(lines) == 1


def test_the_command_of_tutelage_is_the_same(folder, capsys):
    from tutelage.cli.main import main

    assert main(["serve", str(folder), "--host", "0.0.0.0"]) == 2
    assert "--token-env NAME" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["serve", "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: tutelage serve")
    assert "SIGHUP" in said


def test_predicates_come_from_a_file(tmp_path):
    from tutelage_runtime.serving.command import read_predicates
    from tutelage_runtime.serving.errors import ServeError
    from tutelage_runtime.serving.matching import Predicate

    path = tmp_path / "predicates.json"
    path.write_text('{"Spam?": "spam", "News?": {"label": "news", "student": "topic"}}', "utf-8")
    assert read_predicates(path) == {
        "Spam?": Predicate("spam"),
        "News?": Predicate("news", "topic"),
    }
    for wrong in ("[]", '{"a": 1}', '{"a": {"name": "x"}}', "{", '{"a": {"label": 1}}'):
        path.write_text(wrong, "utf-8")
        with pytest.raises(ServeError, match="should be JSON like"):
            read_predicates(path)
