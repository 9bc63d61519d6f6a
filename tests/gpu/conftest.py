"""Where the tests of this folder compute: on the processor, so that what they do cannot rot, and,
marked `gpu`, on a CUDA device, which each is compared with. `make test-gpu` runs the marked ones.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

DEVICES = [pytest.param("cpu", id="cpu"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """`cpu`, or `cuda` where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return request.param


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """float32 products in float32: TF32 has ten bits, and what is compared has more."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = allowed
    torch.set_float32_matmul_precision(before)
