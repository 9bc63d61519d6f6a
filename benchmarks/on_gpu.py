"""The benchmarks of a CUDA device, one after another, each within a share of eight minutes.

The chunked loss beside the plain one (TRL and Liger where they are installed), labelling with a
prompt beside the plain loop, both in bfloat16, and the whole job beside TRL. Results go to
`benchmarks/results/gpu/`. Exits 0 with a line where there is no device, 1 where a benchmark misses
its bar, fails or takes longer than its share.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import torch

from machine import RESULTS

HERE = Path(__file__).parent
SHARES: dict[str, tuple[int, list[str]]] = {
    "linear_divergence": (120, ["--device", "cuda", "--dtype", "bfloat16", "--rounds", "2",
                                "--positions", "8192", "--vocabulary", "151936",
                                "--divergence", "forward_kl"]),
    "label_throughput": (90, ["--dtype", "bfloat16", "--rows", "2000", "--plain-rows", "400",
                              "--batch-size", "32", "--batch-tokens", "65536"]),
    "whole_job": (260, ["--tokens", "400000"]),
}  # fmt: skip
"""Seconds, and the words of the command."""


def main() -> int:
    """Run all of them."""
    if not torch.cuda.is_available():
        print("no CUDA device: skipped")
        return 0
    print(torch.cuda.get_device_name(), flush=True)
    out, failed = RESULTS / "gpu", 0
    out.mkdir(parents=True, exist_ok=True)
    for name, (seconds, words) in SHARES.items():
        start = time.perf_counter()
        command = [sys.executable, HERE / f"{name}.py", *words, "--out", out]
        try:
            code = subprocess.run(command, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            code = f"stopped after {seconds} s"
        print(f"{name}: exit {code}, {time.perf_counter() - start:.0f} s", flush=True)
        failed += code != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
