"""A server that speaks S3 on loopback (moto), and what a process needs to find it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Store:
    """One server with one bucket, `bucket`."""

    def __init__(self) -> None:
        import logging

        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.busy = 0
        """Requests that are answered with 503 from now on."""
        self.asked = 0
        self.is_terse = False
        """Whether a refusal leaves out which condition was not met, as MinIO's does."""
        serving = self._server._server
        assert serving is not None
        inner = serving.app

        def answer(environ: Any, start_response: Any) -> Any:
            self.asked += 1
            if self.busy > 0:
                self.busy -= 1
                start_response(
                    "503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", "0")]
                )
                return [b""]
            return (
                _tersely(inner, environ, start_response)
                if self.is_terse
                else inner(environ, start_response)
            )

        serving.app = answer
        _, self.port = self._server.get_host_and_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self) -> None:
        import s3fs

        fs = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        fs.makedirs("bucket", exist_ok=True)  # servers of one process hold the same

    def put(self, key: str, content: bytes = b"") -> None:
        """Put an object of whatever name, as other programs may."""
        import s3fs

        s3fs.S3FileSystem().call_s3("put_object", Bucket="bucket", Key=key, Body=content)

    def stop(self) -> None:
        self._server.stop()


def _tersely(inner: Any, environ: Any, start_response: Any) -> Any:
    begun: list[Any] = []
    body = b"".join(inner(environ, lambda *words: begun.extend(words)))
    status, headers = begun[:2]
    if status.startswith("412"):
        body = re.sub(rb"<Condition>.*?</Condition>", b"", body)
        headers = [one for one in headers if one[0].lower() != "content-length"]
        headers.append(("Content-Length", str(len(body))))
    start_response(status, headers)
    return [body]


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """These variables for a while, and none of the fsspec file systems made with others."""
    import s3fs

    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        s3fs.S3FileSystem.clear_instance_cache()
