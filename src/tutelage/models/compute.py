"""How this machine computes: the number format that is fast here, and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def choose_dtype(dtype: str) -> torch.dtype:
    """What to hold weights in: the one asked for, or for `auto` bfloat16 only where hardware
    multiplies it.

    Raises:
        ValueError: A name other than auto, float32, bfloat16.
    """
    match dtype:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "auto":
            return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    raise ValueError(f"dtype={dtype!r} given; expected auto, float32 or bfloat16")


def has_fast_bfloat16() -> bool:
    """True on a CUDA device with bfloat16, or a processor with AVX512_BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch work on one thread inside; afterwards on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
