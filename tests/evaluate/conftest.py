"""One thread, which is enough for tiny models and gives the same sums on every machine; a tiny teacher and students."""

from typing import Any

import pytest
import torch
from tests.train.tiny_language import tiny_llama, tiny_student, tiny_teacher


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def teacher() -> Any:
    return tiny_teacher()


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {kind: tiny_student(kind) for kind in ("pruned", "rnn")} | {"same": tiny_llama(7)}
