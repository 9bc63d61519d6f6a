"""A language model in memory that writes: drawn as asked, whoever is written beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tests.journeys.tiny_language_job import write_teacher

from tutelage.models import load_language_model
from tutelage.targets.kinds import TextOptions
from tutelage.teachers.api.protocol import BadAnswer
from tutelage.teachers.causal import writing
from tutelage.teachers.causal.writing import Draw, LocalWriter, likeliest
from tutelage.teachers.writing import Ask
from tutelage.types import SILENT

PROMPTS = ["the", "is this a very good phone", "awful sound", "a camera of great sound and a box"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    torch.set_num_threads(1)
    return load_language_model(
        str(write_teacher(tmp_path_factory.mktemp("writer"))), dtype="float32"
    )


def written(model: Any, folder: Path, asks: list[Ask], **more: Any) -> list[str]:
    """What is written, with where it was cut off left in."""
    options = {"max_new_tokens": 8, "sampling_temperature": 1.0, **more}
    batch_tokens = options.pop("batch_tokens", 4096)
    writer = LocalWriter(
        model, TextOptions(**options), seed=5, journals=folder, batch_tokens=batch_tokens
    )
    found: dict[int, Any] = {}
    for batch in writer.write(asks, progress=SILENT):
        found |= dict(batch)
    assert sorted(found) == list(range(len(asks)))
    return [str(found[place]) for place in range(len(asks))]


def test_an_answer_does_not_depend_on_who_is_written_beside_it(model: Any, tmp_path: Path) -> None:
    asks = [Ask(prompt, sample) for sample in range(2) for prompt in PROMPTS]
    together = written(model, tmp_path / "a", asks)
    alone = [written(model, tmp_path / f"b{place}", [ask])[0] for place, ask in enumerate(asks)]
    in_pairs = written(model, tmp_path / "c", asks[::-1], batch_tokens=50)[::-1]
    assert together == alone == in_pairs
    assert len(set(together)) == len(asks)
    assert written(model, tmp_path / "a", asks, sampling_temperature=0.9) != together


def test_greedy_is_what_the_model_itself_takes(model: Any, tmp_path: Path) -> None:
    ask = Ask(PROMPTS[1])
    (text,) = written(model, tmp_path, [ask], sampling_temperature=0)
    turns = [{"role": "user", "content": ask.prompt}]
    ids = model.tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    vocabulary = len(model.tokenizer)
    tokens: list[int] = []
    with torch.no_grad():
        for _ in range(8):
            tokens.append(int(model.model(input_ids=ids).logits[0, -1, :vocabulary].argmax()))
            ids = torch.cat([ids, torch.tensor([[tokens[-1]]])], dim=1)
    said = model.tokenizer.decode(tokens, skip_special_tokens=True)
    assert repr(said[-60:]) in text  # cut off after ...


def test_a_model_that_cannot_be_padded_writes_prompts_of_one_length(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = [Ask(prompt) for prompt in (*PROMPTS, "awful box")]
    expected = written(model, tmp_path / "a", asks)
    monkeypatch.setattr(LocalWriter, "_pads_on_the_left", lambda *_: False)
    sizes: list[int] = []
    generated = LocalWriter._generated

    def counting(self: Any, prompts: Any, *rest: Any) -> Any:
        sizes.append(len({len(ids) for ids in prompts}))
        return generated(self, prompts, *rest)

    monkeypatch.setattr(LocalWriter, "_generated", counting)
    assert written(model, tmp_path / "b", asks) == expected
    assert set(sizes) == {1}


def test_padding_that_a_model_does_not_know_is_found_out(model: Any, tmp_path: Path) -> None:
    writer = LocalWriter(model, TextOptions(), seed=0, journals=tmp_path)
    prompts = [[5, 6, 7], [5, 6, 7, 8, 9, 10, 11]]
    assert writer._pads_on_the_left(prompts)
    attended = model.model.generate

    def blind(**options: Any) -> Any:
        options["attention_mask"] = torch.ones_like(options["attention_mask"])
        return attended(**options)

    model.model.generate = blind
    try:
        assert not writer._pads_on_the_left(prompts)
    finally:
        del model.model.generate


def test_work_that_was_stopped_goes_on_to_the_same_answers(model: Any, tmp_path: Path) -> None:
    asks = [Ask(prompt, sample) for sample in range(3) for prompt in PROMPTS]
    expected = written(model, tmp_path / "whole", asks)
    options = TextOptions(max_new_tokens=8, sampling_temperature=1.0)
    writer = LocalWriter(model, options, seed=5, journals=tmp_path / "cut", batch_tokens=60)
    stopped = writer.write(asks, progress=SILENT)
    kept = [place for place, _ in next(stopped)]
    stopped.close()  # type: ignore[attr-defined]
    assert 0 < len(kept) < len(asks)
    said: list[str] = []
    progress: Any = type("Heard", (), {"say": lambda _, text: said.append(text)})()
    found: dict[int, Any] = {}
    for batch in writer.write(asks, progress=progress):
        found |= dict(batch)
    assert said[0].startswith(f"{len(kept)} answers were written before")
    assert [str(found[place]) for place in range(len(asks))] == expected
    (journal,) = (tmp_path / "cut").glob("*/replies.jsonl")
    assert len(journal.read_bytes().splitlines()) == len(asks)  # each was written once


def test_an_answer_that_is_cut_off_is_none(model: Any, tmp_path: Path) -> None:
    writer = LocalWriter(model, TextOptions(max_new_tokens=2), seed=0, journals=tmp_path)
    (batch,) = writer.write([Ask("the"), Ask("x " * 400)], progress=SILENT)
    bad = [found for _, found in batch if isinstance(found, BadAnswer)]
    assert [one.reason for one in bad] == ["truncated", "truncated"]  # the second had no room


@pytest.mark.parametrize("top_p", [1.0, 0.999999])
def test_draws_have_the_probabilities_of_the_model(top_p: float) -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 5.0]])
    draws = 20_000
    states = [np.random.default_rng(number) for number in range(draws)]
    draw = Draw(states, sampling_temperature=0.5, top_p=top_p, vocabulary=4)
    chosen = draw(torch.zeros(draws, 1), logits.expand(draws, -1)).argmax(dim=-1)  # type: ignore[arg-type]
    counts = torch.bincount(chosen, minlength=5)
    assert counts[4] == 0  # no token has it
    expected = torch.softmax(logits[0, :4] / 0.5, dim=-1).numpy().astype(np.float64)
    assert chisquare(counts[:4], draws * expected / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.5, [1]), (0.65, [1, 3]), (0.95, [0, 1, 3]), (1, [0, 1, 2, 3])]
)
def test_the_fewest_tokens_that_have_the_mass(
    top_p: float, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    probs = torch.tensor([[0.12, 0.6, 0.03, 0.25]])
    for looked_at in (4, 2):  # and where the first ones that are looked at do not have it
        monkeypatch.setattr(writing, "_LOOKED_AT", looked_at)
        found, ids = likeliest(probs, top_p)
        assert sorted(ids[found > 0].tolist()) == kept
        assert torch.equal(found[found > 0].sort()[0], probs[0, kept].sort()[0])
