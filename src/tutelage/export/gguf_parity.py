"""Whether a GGUF file continues texts as the student that it was written of.

In: a student's folder, the file, and texts. Out: how far the next token's distributions lie from
each other at every position, how often the likeliest token is the same, and how many greedy
continuations are. The file is read with transformers' reader, which turns its blocks into float32
again; llama.cpp itself adds its own rounding to that (16-bit keys and values, 8-bit activations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MOST_TEXTS, MOST_TOKENS, CONTINUED, NEW_TOKENS = 64, 256, 8, 16
MOST_NATS: Mapping[str, float] = {"f16": 1e-4, "q8_0": 0.01, "q4_0": 0.1}
"""The largest mean KL divergence of a position, by how weights are stored."""
_TEXTS = (
    "The first thing that I noticed was",
    "In 1987, 3.5 million people  lived here;\nby 2024",
    "def add(a, b):\n    return",
    "L'été dernier, Zoë – naïve – said: “no”",
    "\u4e2d\u6587 \U0001f642 and more",
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison found."""

    record: Mapping[str, Any]
    """As JSON: texts, positions, `mean_kl` in nats, `largest_kl`, `top1_agreement`, and how many
    of how many greedy continuations are the same."""
    problems: Sequence[str] = field(default=())
    """Why it must not be used."""


def compare(student: Path, path: Path, texts: Sequence[str] | None, *, weights: str) -> Found:
    """Read a file again and compare it with its student.

    Args:
        student: Its folder.
        path: The file.
        texts: That no training saw; None: some that are built in.
        weights: How the file stores them; says how much it may differ.
    """
    import torch

    from tutelage.models.pretrained import from_pretrained

    tokenizer = from_pretrained("tokenizer", str(student), student)
    before = from_pretrained("causal_lm", str(student), student).eval()
    after = from_pretrained("causal_lm", str(path), path).eval()
    ids = [_ids(tokenizer, text) for text in list(texts or _TEXTS)[:MOST_TEXTS]]
    ids = [one for one in ids if one.shape[1]]
    divergences, same = [], []
    with torch.no_grad():
        for one in ids:
            student_logp, file_logp = (
                model(input_ids=one).logits[0].double().log_softmax(dim=-1)
                for model in (before, after)
            )
            divergences.append((student_logp.exp() * (student_logp - file_logp)).sum(dim=-1))
            same.append(student_logp.argmax(dim=-1) == file_logp.argmax(dim=-1))
        continued = [
            _continued(before, one).equal(_continued(after, one)) for one in ids[:CONTINUED]
        ]
    kl, agreed = torch.cat(divergences), torch.cat(same)
    record = {
        "against": "test texts" if texts else "built-in texts",
        "texts": len(ids),
        "positions": len(kl),
        "mean_kl": float(kl.mean()),
        "largest_kl": float(kl.max()),
        "top1_agreement": float(agreed.double().mean()),
        "greedy_the_same": sum(continued),
        "greedy_compared": len(continued),
    }
    limit = MOST_NATS[weights]
    problems = []
    if not record["mean_kl"] <= limit:
        problems.append(f"the mean divergence is {record['mean_kl']:.2g} nats, at most {limit:g}")
    if weights == "f16" and record["top1_agreement"] < 0.98:
        problems.append(f"the likeliest token agrees at {record['top1_agreement']:.1%}, not 98 %")
    return Found(record, problems)


def _ids(tokenizer: Any, text: str) -> Tensor:
    import torch

    found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return torch.tensor([found[:MOST_TOKENS]], dtype=torch.long)


def _continued(model: Any, ids: Tensor) -> Tensor:
    """The likeliest tokens one after the other."""
    import torch

    for _ in range(NEW_TOKENS):
        following = model(input_ids=ids).logits[:, -1:].argmax(dim=-1)
        ids = torch.cat([ids, following], dim=1)
    return ids
