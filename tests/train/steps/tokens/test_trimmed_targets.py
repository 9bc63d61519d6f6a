"""Soft targets over fewer tokens: what the teacher would say had it no others, or a refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.recipes.language_job import KNOWN, UNSEEN, texts, tiny_teacher

from tutelage.errors import ModelError, TargetsMismatch
from tutelage.losses import HiddenTeacher, SampledTeacher
from tutelage.students import VocabularyMap, trim_vocabulary
from tutelage.train.steps.tokens.targets import TrimmedTargets
from tutelage.types import Document


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    return tiny_teacher(texts(KNOWN + UNSEEN, 100, seed=9))


def document(tokenizer: Any, text: str) -> Document:
    ids = np.array(tokenizer(text)["input_ids"], dtype=np.int32)
    return Document(ids, np.arange(len(ids)) > 0, source="a.jsonl", row=3)


class Source:
    """Answers with the teacher's own states, and remembers what it was asked about."""

    fingerprint = "source"

    def __init__(
        self, model: Any, *, sampled: bool = False, bias: torch.Tensor | None = None
    ) -> None:
        self.model, self.sampled, self.bias = model, sampled, bias
        self.asked: list[bytes] = []

    def require(self, documents: Any) -> None:
        self.asked += [one.example_id for one in documents]

    def teacher_side(self, documents: Any, device: torch.device) -> Any:
        self.require(documents)
        rows = []
        for one in documents:
            ids = torch.from_numpy(one.token_ids.astype(np.int64))[None]
            with torch.no_grad():
                rows.append(self.model.model(input_ids=ids).last_hidden_state[0, :-1])
        if self.sampled:
            return SampledTeacher(*(torch.zeros(1, 1) for _ in range(2)), torch.zeros(1))
        return HiddenTeacher(torch.cat(rows), self.model.lm_head.weight.detach(), bias=self.bias)


def logits_of(teacher: HiddenTeacher) -> torch.Tensor:
    """By the definition, in float64."""
    logits = teacher.hidden.double() @ teacher.weight.double().T
    return logits if teacher.bias is None else logits + teacher.bias.double()


def test_they_are_the_teachers_over_the_tokens_that_stay(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    original = document(tokenizer, "the good film was not boring")
    small, trimmed, _ = trim_vocabulary(model, tokenizer, original.token_ids.tolist())
    tokens = VocabularyMap(tokenizer, trimmed)
    assert 0 < len(tokens.kept) < len(tokenizer)
    new = tokens.document(original)
    assert trimmed.decode(new.token_ids) == tokenizer.decode(original.token_ids)
    bias = torch.linspace(-1, 1, model.lm_head.weight.shape[0])
    for one_bias in (None, bias):
        source = Source(model, bias=one_bias)
        targets = TrimmedTargets(source, tokens)
        targets.require([new])
        assert source.asked == [original.example_id]  # found under the name it was labelled by
        for _ in range(2):  # the second time from rows that were cut before
            found = targets.teacher_side([new], torch.device("cpu"))
            assert isinstance(found, HiddenTeacher)
            ours = torch.log_softmax(logits_of(found), dim=-1)
            whole = source.teacher_side([original], torch.device("cpu"))
            probs = torch.softmax(logits_of(whole)[:, : len(tokenizer)], dim=-1)[
                :, torch.from_numpy(tokens.kept)
            ]
            assert float(probs.sum(-1).max()) < 0.999  # something was taken out
            torch.testing.assert_close(
                ours.exp(), probs / probs.sum(-1, keepdim=True), atol=1e-7, rtol=1e-6
            )
        if one_bias is None:
            with torch.no_grad():
                answer = small.eval()(
                    input_ids=torch.from_numpy(new.token_ids.astype(np.int64))[None]
                ).logits[0, :-1]
            torch.testing.assert_close(
                torch.log_softmax(answer.double(), -1), ours, atol=1e-5, rtol=1e-5
            )
    assert targets.fingerprint != source.fingerprint


def test_samples_cannot_be_narrowed(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    original = document(tokenizer, "the film")
    _, trimmed, _ = trim_vocabulary(model, tokenizer, original.token_ids.tolist())
    tokens = VocabularyMap(tokenizer, trimmed)
    targets = TrimmedTargets(Source(model, sampled=True), tokens)
    with pytest.raises(
        TargetsMismatch, match=r"no whole distributions.*kind hidden or live, or vocabulary: full"
    ):
        targets.teacher_side([tokens.document(original)], torch.device("cpu"))
    with pytest.raises(ModelError, match=r"a\.jsonl row 3 uses a token that was taken out"):
        tokens.document(document(tokenizer, "wonderful"))
    with pytest.raises(ModelError, match=r"the student has the token .*, which the teacher lacks"):
        VocabularyMap(trimmed, tokenizer)


def test_every_token_that_was_taken_out_is_spelled_in_the_same_bytes(tiny: tuple[Any, Any]) -> None:
    model, tokenizer = tiny
    _, trimmed, remap = trim_vocabulary(model, tokenizer, tokenizer("the film")["input_ids"])
    tokens = VocabularyMap(tokenizer, trimmed)
    gone = [index for index in range(len(tokenizer)) if remap[index] < 0]
    assert len(gone) > 20
    names = tokenizer.convert_ids_to_tokens(gone)
    for index, name in zip(gone, names, strict=True):
        assert "".join(trimmed.convert_ids_to_tokens(tokens.pieces(index).tolist())) == name
    ids = tokenizer("the wonderful film was bad")["input_ids"]
    spelled = tokens.spell(ids)
    assert trimmed.decode(spelled.ids) == tokenizer.decode(ids)
    assert len(spelled.ids) > len(ids) == len(spelled.starts)
    assert (spelled.ends >= spelled.starts).all()
    assert spelled.ends[-1] == len(spelled.ids) - 1
    assert tokens.kept[spelled.ids[spelled.starts[0]]] == ids[0]
