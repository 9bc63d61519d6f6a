"""Clients that keep asking over kept-alive connections and count what they get."""

import contextlib
import http.client
import json
import threading


class Load:
    """Asks from several threads until told to stop; counts answers and what was lost."""

    def __init__(self, port, *, clients=4, text="a fine film"):
        self.answers, self.models, self.lost, self.wrong = 0, set(), [], []
        self._port, self._over, self._lock = port, threading.Event(), threading.Lock()
        self._body = json.dumps({"input": text}).encode()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self):
        while not self._over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            with contextlib.closing(connection):
                try:
                    connection.connect()
                except OSError:
                    return  # the server takes no more: nothing was asked, so nothing is lost
                self._on(connection)

    def _on(self, connection):
        while not self._over.is_set():
            try:
                head = {"Content-Type": "application/json"}
                connection.request("POST", "/classify", self._body, head)
                reply = connection.getresponse()
                value = json.loads(reply.read())
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.lost.append(repr(error))
                return
            with self._lock:
                if reply.status != 200:
                    self.wrong.append((reply.status, value))
                else:
                    self.answers += 1
                    self.models.add(value["model"])
            if reply.headers.get("connection") == "close":
                return
