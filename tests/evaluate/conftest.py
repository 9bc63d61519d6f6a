"""One thread, which is enough for tiny models and gives the same sums on every machine; a tiny
teacher and students."""

from typing import Any

import pytest
from tests.train.tiny_language import tiny_llama, tiny_student, tiny_teacher

from tutelage.models.computing import one_thread


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def teacher() -> Any:
    return tiny_teacher()


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {kind: tiny_student(kind) for kind in ("pruned", "rnn")} | {"same": tiny_llama(7)}
