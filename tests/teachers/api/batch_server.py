"""A server with `/v1/files` and `/v1/batches`, as far as handing over and fetching goes."""

from __future__ import annotations

import json
from typing import Any

from tests.teachers.api.faulty_server import FaultyServer, _http, decision


class BatchServer(FaultyServer):
    """Finishes a batch after so many looks."""

    def __init__(self, *, looks: int = 2, status: str = "completed", fails: int = 0) -> None:
        super().__init__()
        self.looks, self.status, self.fails = looks, status, fails
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked = 0
        """Requests in all batches."""

    def respond(self, path: str, header: str, body: bytes) -> tuple[bytes, bool]:
        self.paths[path] += 1
        method = header.split(" ")[0]
        match method, path.removeprefix("/v1/").split("/"):
            case "POST", ["files"]:
                name = f"file-{len(self.files)}"
                boundary = body.split(b"\r\n", 1)[0]
                part = next(one for one in body.split(boundary) if b"filename=" in one)
                self.files[name] = part.split(b"\r\n\r\n", 1)[1].rstrip(b"\r\n").decode()
                said = {"id": name, "object": "file", "bytes": 1, "created_at": 1}
                return self._json({**said, "filename": "x", "purpose": "batch", "status": "ok"})
            case "GET", ["files", name, "content"]:
                return _http(200, self.files[name].encode()), False
            case "POST", ["batches"]:
                made = json.loads(body)
                name = f"batch-{len(self.batches)}"
                lines = self.files[made["input_file_id"]].splitlines()
                self.asked += len(lines)
                self.batches[name] = {**made, "left": self.looks, "lines": lines}
                return self._json(self._batch(name))
            case "GET", ["batches", name] if name not in self.batches:
                return _http(404, b'{"error": {"message": "no such batch"}}'), False
            case "GET", ["batches", name]:
                self.batches[name]["left"] -= 1
                return self._json(self._batch(name))
        return super().respond(path, header, body)

    def _json(self, body: dict[str, Any]) -> tuple[bytes, bool]:
        return _http(200, json.dumps(body).encode()), False

    def _batch(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        ended = batch["left"] <= 0
        told = {
            "id": name,
            "object": "batch",
            "endpoint": batch["endpoint"],
            "input_file_id": batch["input_file_id"],
            "completion_window": "24h",
            "created_at": 1,
            "status": self.status if ended else "in_progress",
            "request_counts": {"total": len(batch["lines"]), "completed": 0, "failed": 0},
        }
        if ended and self.status == "failed":
            error = {"message": "no such model", "code": "x", "line": 1, "param": None}
            return {**told, "errors": {"object": "list", "data": [error]}}
        if ended:
            self.files[f"{name}-out"] = "\n".join(
                json.dumps(self._answered(json.loads(line), place))
                for place, line in enumerate(batch["lines"])
            )
            told["output_file_id"] = f"{name}-out"
        return told

    def _answered(self, asked: dict[str, Any], place: int) -> dict[str, Any]:
        if place < self.fails:
            return {"custom_id": asked["custom_id"], "response": {"status_code": 500, "body": {}}}
        reply = decision(asked["body"]["input"])
        return {
            "custom_id": asked["custom_id"],
            "response": {"status_code": 200, "request_id": "r", "body": reply},
            "error": None,
        }
