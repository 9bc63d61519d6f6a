"""Hidden states in 8 bits a value, and the output matrix that makes distributions of them.

In: a teacher, states. Out: codes with a scale for each position, and `output.safetensors` beside
the parts. A few channels of a state are many times larger than the rest, so each is divided by a
size of its own before it is rounded. The sizes are those of a fixed text, not of the documents:
what several processes label side by side can be merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.targets import HiddenTargets, read_output_matrix, write_output_matrix
from tutelage.targets.manifest import OUTPUT_FILE
from tutelage.teachers.causal.distributions import entropies
from tutelage.teachers.causal.teacher import CHUNK_ELEMENTS
from tutelage.teachers.teacher import HiddenStates
from tutelage.types import SILENT, Document, Progress

GATE_POSITIONS = 512
"""Positions of the documents on which the cost of rounding is measured."""
QUANTISATION_GATE = 1e-3
"""Mean divergence in nats that rounding to 8 bits may cause before people are told."""
SIZES_IN_A_DOUBLING = 4
"""Sizes of channels are rounded to so many steps of each power of two, so that last bits of a state
do not show."""
SMALLEST_SIZE = 1e-4
"""Of a channel, beside the largest."""
SIZING_TEXT = (
    "The committee met on Tuesday to discuss the budget for next year. Nobody was happy: costs had "
    "risen by 12% while "
    'income stayed the same. "We can\'t go on like this," said Ms. Alvarez, who has run the '
    "museum since 1998. In "
    "Python one writes `for i in range(10): print(i * 2)`, and the loop ends when i is 9. Water "
    "boils at 100 degrees "
    "at sea level, but lower on a mountain, because the air presses less. I loved this film! The "
    "plot makes no sense, "
    "and yet every scene is beautiful. How do you sort a list? First compare neighbours, then swap "
    "them. Der Zug kam "
    "um acht Uhr an. La maison est petite mais claire. Dear Sir, thank you for your letter of 3 "
    "March; please find "
    "enclosed our answer. 2 + 2 = 4, and the square root of 81 is 9."
)
"""Tells how large each channel is. On SmolLM2-135M and film reviews, sizes from it cost 6e-4 nats;
from reviews 5.6e-4; from random ids 1.5e-3; none 7e-3."""


@torch.inference_mode()
def prepare_matrix(
    teacher: HiddenStates, documents: Sequence[Document], out: Path, *, progress: Progress = SILENT
) -> Tensor:
    """Write the output matrix beside the targets, and say what rounding will cost.

    Args:
        teacher: Whose matrix.
        documents: On the first of which, by content, the cost is measured.
        out: Folder of the store. A matrix that lies there keeps the channels it has.
        progress: Told the cost.

    Returns:
        What each value of a state is divided by before it is rounded, [H].

    Raises:
        TargetsMismatch: `out` holds targets of another matrix.
    """
    head, size = teacher.head, teacher.vocabulary
    known = read_output_matrix(out).channels if (out / OUTPUT_FILE).is_file() else None
    if (
        known is None or len(known) != head.weight.shape[1]
    ):  # none, or of another teacher, which is refused below
        channels = channel_sizes(teacher)
    else:
        channels = torch.from_numpy(np.array(known)).to(head.weight.device)
    write_output_matrix(
        out,
        weight=head.weight[:size].float().cpu().numpy(),
        bias=None if head.bias is None else head.bias[:size].float().cpu().numpy(),
        scale=head.scale,
        cap=head.cap,
        channels=channels.cpu().numpy(),
    )
    sample: list[Tensor] = []
    distinct = {document.example_id: document for document in documents if document.positions}
    for _, document in sorted(distinct.items()):
        if sum(len(states) for states in sample) >= GATE_POSITIONS:
            break
        sample += teacher.read([document])
    if sample:
        _say_what_rounding_costs(teacher, torch.cat(sample), channels, progress)
    return channels


@torch.inference_mode()
def channel_sizes(teacher: HiddenStates) -> Tensor:
    """Root mean square of each channel over a fixed text, coarsely rounded, float32 [H]: the same
    on every call.
    """
    ids = np.array(teacher.tokenizer(SIZING_TEXT).input_ids, np.int32)[: teacher.context]
    (states,) = teacher.read([Document(ids, np.arange(len(ids)) > 0, "the sizing text", 1)])
    if not len(states):
        return states.new_ones(states.shape[1])
    spread = states.square().mean(dim=0).sqrt()
    spread = spread.clamp_min(float(spread.max()) * SMALLEST_SIZE or 1.0)
    return torch.exp2((spread.log2() * SIZES_IN_A_DOUBLING).round() / SIZES_IN_A_DOUBLING)


@torch.inference_mode()
def hidden_targets(teacher: HiddenStates, states: Tensor, channels: Tensor) -> HiddenTargets:
    """The states of one document in 8 bits a value, with the entropies of their distributions.

    Args:
        teacher: Whose output matrix tells the entropies.
        states: float32 [P, H].
        channels: What each value is divided by before it is rounded, [H].
    """
    codes, scales = quantise(states / channels)
    found = [
        entropies(teacher.logits(chunk))
        for chunk in states.split(max(1, CHUNK_ELEMENTS // teacher.vocabulary))
    ]
    nats = torch.cat(found) if found else states.new_zeros(0)
    return HiddenTargets(codes.cpu().numpy(), scales.cpu().numpy(), nats.cpu().numpy())


def quantise(states: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [P, H] and float32 [P] whose product is nearest to the states: the largest of a row is
    127 steps.
    """
    scales = states.abs().amax(dim=-1) / 127
    codes = (
        (states / scales.clamp_min(torch.finfo(torch.float32).tiny)[:, None])
        .round_()
        .clamp_(-127, 127)
    )
    return codes.to(torch.int8), scales


def _say_what_rounding_costs(
    teacher: HiddenStates, states: Tensor, channels: Tensor, progress: Progress
) -> None:
    chunk = states[: max(1, CHUNK_ELEMENTS // teacher.vocabulary)]
    codes, scales = quantise(chunk / channels)
    exact = torch.log_softmax(teacher.logits(chunk), dim=-1)
    rounded = torch.log_softmax(teacher.logits(codes.float() * scales[:, None] * channels), dim=-1)
    divergence = float((exact.exp() * (exact - rounded)).sum(dim=-1).mean())
    same = float((exact.argmax(dim=-1) == rounded.argmax(dim=-1)).float().mean())
    progress.say(
        f"Rounding hidden states to 8 bits costs {divergence:.1e} nats; the first choice stays at "
        f"{same:.2%} of places"
    )
    if divergence > QUANTISATION_GATE:
        progress.say(
            "warning: that is much for this teacher; consider targets of kind sampled or live"
        )
