"""Integrated gradients: they sum to the difference that they explain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tutelage.errors import MissingExtra
from tutelage.models.contributions import word_spans
from tutelage.models.gradients import (
    RELATIVE_TOLERANCE,
    STEPS,
    TOLERANCE,
    blank_vector,
    has_gradients,
    integrated_gradients,
)

pytest.importorskip("captum", reason="captum is not installed (pip install 'tutelage[explain]')")

BLANK, FIRST, LAST = 0, 1, 2
WORDS = ["good", "bad", "film", "not"]
TEXT = "not good film"


class Sums(nn.Module):
    """A classifier that is linear in its embeddings, so that every explanation of it is one."""

    def __init__(self, bend: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(3 + len(WORDS), 5)
        self.head = nn.Linear(5, 3)
        self.bend = bend
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=generator)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embedding

    def forward(self, input_ids: torch.Tensor) -> Any:
        summed = self.embedding(input_ids).sum(1)
        return SimpleNamespace(logits=self.head(summed + torch.sin(self.bend * summed)))


def blank_of(model: Sums) -> torch.Tensor:
    return blank_vector(model, SimpleNamespace(mask_token_id=BLANK))


def read(text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and places, a special token at both ends."""
    spans = word_spans(text)
    ids = [3 + WORDS.index(text[begin:end]) for begin, end in spans]
    return [FIRST, *ids, LAST], [(0, 0), *spans, (0, 0)]


def test_of_a_sum_they_are_its_parts_and_what_leaving_out_takes() -> None:
    model = Sums()
    found = integrated_gradients(model, *read(TEXT), TEXT, blank=blank_of(Sums()))
    ids, _ = read(TEXT)
    table = model.embedding.weight
    parts = (table[ids[1:-1]] - table[BLANK]) @ model.head.weight.T
    np.testing.assert_allclose(found.words, parts.detach().numpy(), rtol=1e-5)
    assert found.spans == word_spans(TEXT)
    assert found.steps == STEPS[0]
    for place, values in enumerate(found.words, start=1):
        left = [*ids[:place], BLANK, *ids[place + 1 :]]
        less = model(torch.tensor([left])).logits[0].detach().numpy()
        np.testing.assert_allclose(found.logits - less, values, rtol=1e-4, atol=1e-5)


def test_special_tokens_stay_as_they_are() -> None:
    model = Sums()
    found = integrated_gradients(model, *read("film"), "film", blank=blank_of(Sums()))
    baseline = model(torch.tensor([[FIRST, BLANK, LAST]])).logits[0]
    np.testing.assert_allclose(found.baseline, baseline.detach().numpy(), rtol=1e-5)


def test_steps_are_added_until_the_sum_is_complete() -> None:
    found = integrated_gradients(Sums(bend=40.0), *read(TEXT), TEXT, blank=blank_of(Sums()))
    assert found.steps is not None
    assert found.steps > STEPS[0]
    allowed = np.maximum(TOLERANCE, RELATIVE_TOLERANCE * np.abs(found.logits - found.baseline))
    assert (np.abs(found.residual) <= allowed).all()


def test_weights_get_no_gradients_and_no_hook_stays() -> None:
    model = Sums()
    integrated_gradients(model, *read(TEXT), TEXT, blank=blank_of(Sums()))
    assert all(weight.grad is None for weight in model.parameters())
    assert not model.embedding._forward_hooks


def test_only_float32_with_a_tokenizer_that_tells_places() -> None:
    assert has_gradients(Sums(), SimpleNamespace(is_fast=True))
    assert not has_gradients(Sums(), SimpleNamespace(is_fast=False))
    assert not has_gradients(Sums().bfloat16(), SimpleNamespace(is_fast=True))


def test_the_blank_is_the_mask_token_and_never_zero() -> None:
    model = Sums()
    table = model.embedding.weight.detach()
    for mask in (None, len(table)):
        found = blank_vector(model, SimpleNamespace(mask_token_id=mask))
        torch.testing.assert_close(found, table.mean(0))
    torch.testing.assert_close(blank_of(model), table[BLANK])
    model.embedding.weight.data[BLANK] = 0
    torch.testing.assert_close(blank_of(model), table.mean(0))


def test_without_captum_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tutelage\[explain\]'"):
        integrated_gradients(Sums(), *read(TEXT), TEXT, blank=blank_of(Sums()))
