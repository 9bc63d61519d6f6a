"""One thread, which is enough for tiny models and gives the same sums on every machine, and a
teacher asked live."""

import pytest
from tests.train.tiny_language import tiny_teacher

from tutelage.models.computing import one_thread
from tutelage.train import LiveTargets


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def live() -> LiveTargets:
    return LiveTargets(tiny_teacher())
