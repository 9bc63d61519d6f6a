"""The distance between the hidden states of a student and those of its teacher, which reads along
while the student is trained.

In: a student that was cut from its teacher, batches of its token ids. Out: its logits, and for each
text how far its states are from the teacher's.

Source: Sanh et al. 2019 (arXiv:1910.01108), section 3, the cosine of last hidden states; Jiao et
al. 2019 (arXiv:1909.10351), equation 8, the mean squared difference of the states of several
layers. We compare states as they are: student and teacher are equally wide, so no projection is
learned.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from tutelage.errors import ModelError


class HiddenMatching:
    """What the states of a student cost.

    Args:
        model: The student, from `prune_classifier`.
        tokenizer: Its tokenizer.
        language_model: What it was cut from.
        weight: Of the distance.
        distance: Of two states: one minus their cosine, or the mean of squared differences.
        layers: Which states are compared.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        language_model: Any,
        *,
        weight: float,
        distance: Literal["cosine", "mse"] = "cosine",
        layers: Literal["last", "all"] = "last",
    ) -> None:
        from tutelage.students.pruning.classifiers import (
            cut_layers,
            name_of,
            read_depth,
            without_adapters,
        )

        self._weight, self._distance = weight, distance
        whole, reads = (
            without_adapters(language_model.model),
            getattr(language_model, "reads", None),
        )
        depth = read_depth(whole, reads, name=name_of(language_model))
        labels = [model.config.id2label[index] for index in sorted(model.config.id2label)]
        # Only the layers that its head reads, in float32: cosines of small differences are wanted.
        self._teacher = cut_layers(
            whole, range(depth), labels=labels, tokenizer=tokenizer, reads=reads
        ).eval()
        self._teacher.requires_grad_(False)
        kept = model.config.kept_layers
        pairs = [(own + 1, other + 1) for own, other in enumerate(kept)]
        self._pairs = [(len(kept), depth)] if layers == "last" else pairs
        self._teacher_ids = _teacher_ids(tokenizer, language_model.tokenizer, self._teacher)
        self.identity = ("hidden states", weight, distance, layers)
        """What a run with it is told apart by."""

    def __call__(self, module: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Ask the student, and the teacher beside it.

        Args:
            module: The student, perhaps wrapped.
            batch: `input_ids` and `attention_mask` [B, T].

        Returns:
            The student's logits [B, C], and the weighted distance of each text [B]: the mean over
            its tokens, and over the pairs of layers.
        """
        ids_BT, mask_BT = batch["input_ids"], batch["attention_mask"]
        own = module(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True)
        teacher = self._teacher.to(ids_BT.device)
        with torch.no_grad():
            theirs = teacher(
                input_ids=self._teacher_ids.to(ids_BT.device)[ids_BT],
                attention_mask=mask_BT,
                output_hidden_states=True,
            ).hidden_states
        apart_BT = torch.stack(
            [self._apart(own.hidden_states[i], theirs[j]) for i, j in self._pairs]
        ).mean(0)
        real_BT = mask_BT.to(apart_BT.dtype)
        return own.logits, self._weight * (apart_BT * real_BT).sum(1) / real_BT.sum(1).clamp_min(1)

    def _apart(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The distance of states [B, T, H] at every position, [B, T]."""
        if self._distance == "cosine":
            return 1 - torch.cosine_similarity(student, teacher, dim=-1)
        return (student - teacher).square().mean(-1)


def _teacher_ids(tokenizer: Any, teacher_tokenizer: Any, teacher: Any) -> Tensor:
    """The teacher's id of every id of the student, int64 [V].

    Raises:
        ModelError: A token is none of the teacher's.
    """
    rows = teacher.get_input_embeddings().weight.shape[0]
    theirs = teacher_tokenizer.get_vocab()
    own = tokenizer.get_vocab()
    found = torch.zeros(max(own.values()) + 1, dtype=torch.int64)
    for token, index in own.items():
        if token not in theirs:
            raise ModelError(
                f"the student's token {token!r} is none of its teacher's: cut it from this teacher"
            )
        found[index] = min(theirs[token], rows - 1)
    return found
