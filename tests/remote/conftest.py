"""Fixtures: one server of the S3 kind for a module, a cache of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.remote.object_store import Store, environment

from tutelage.runs.remote import fetching


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_brought", {})


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store()
    with environment(store.environment):
        store.make_bucket()
        yield store
    store.stop()
