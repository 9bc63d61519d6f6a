"""One thread, which is enough for tiny models and gives the same sums on every machine, and a teacher asked live."""

import sys
from pathlib import Path

import pytest
import torch
from tests.train.tiny_language import tiny_teacher

from tutelage.train import LiveTargets

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def live() -> LiveTargets:
    return LiveTargets(tiny_teacher())
