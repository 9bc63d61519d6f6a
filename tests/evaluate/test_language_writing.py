"""What language models write after a prompt, how fast they are, and what memory they take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.recipes.language_job import KNOWN, texts
from tests.recipes.language_job import tiny_teacher as tiny_language_model
from tests.train.tiny_language import (
    TOKENIZER,
    VOCABULARY,
    tiny_documents,
    tiny_student,
)
from transformers import LlamaConfig

from tutelage.evaluate.tokens.cost import cut_to_context, measure_language_speed, peak_memory_bytes
from tutelage.evaluate.tokens.samples import continue_prompts, prompts_of
from tutelage.students import build_language_rnn, save_model
from tutelage.students.language.specs import LanguageRNN

DOCUMENTS = tiny_documents(20, share=0.7)


def test_prompts_are_what_comes_before_the_answer_or_the_beginning() -> None:
    answered = replace(
        DOCUMENTS[0], trained=np.arange(9) >= 6, token_ids=np.arange(9, dtype=np.int32)
    )
    plain = replace(
        DOCUMENTS[0], trained=np.arange(30) >= 1, token_ids=np.arange(30, dtype=np.int32)
    )
    found = prompts_of([answered, plain, plain], 2, tokens=7)
    assert [prompt.tolist() for prompt in found] == [list(range(6)), list(range(7))]
    assert [len(prompt) for prompt in prompts_of([plain], 2, tokens=24)] == [10]
    assert prompts_of([answered, plain], 0, tokens=7) == []


def test_samples_are_the_same_every_time_and_beside_any_other_models(teacher, models) -> None:
    everyone = {"teacher": teacher.language_model.model, **models}
    prompts = prompts_of(DOCUMENTS, 2, tokens=4)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = continue_prompts(everyone, TOKENIZER, prompts, new_tokens=6)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert continue_prompts(everyone, TOKENIZER, prompts, new_tokens=6) == first
    alone = continue_prompts({"pruned": models["pruned"]}, TOKENIZER, prompts, new_tokens=6)
    assert [one["continuations"]["pruned"] for one in alone] == [
        one["continuations"]["pruned"] for one in first
    ]
    assert all(one["continuations"]["same"] == one["continuations"]["teacher"] for one in first)
    # Padded rows would win if they could, and spell nothing.
    assert all(one["continuations"][name] for one in first for name in ("teacher", "pruned"))
    other = continue_prompts(everyone, TOKENIZER, prompts, new_tokens=6, seed=1)
    assert other != first
    assert [one["prompt"] for one in other] == [TOKENIZER.decode(prompt) for prompt in prompts]


class Scripted:
    """Writes what stands in the script: by first token of the prompt, padded as transformers
    pads."""

    config = LlamaConfig(max_position_embeddings=40, vocab_size=VOCABULARY)

    def __init__(self, script: dict[int, list[int]], end: int | list[int] | None) -> None:
        self.script, self.batches = script, []
        self.device, self.generation_config = torch.device("cpu"), SimpleNamespace(eos_token_id=end)

    def eval(self) -> Scripted:
        return self

    def generate(
        self, *, input_ids: torch.Tensor, max_new_tokens: int, **_settings: Any
    ) -> torch.Tensor:
        self.batches.append(tuple(input_ids.shape))
        written = [self.script[row[0]][:max_new_tokens] for row in input_ids.tolist()]
        width = max(map(len, written))
        rows = [[*tokens, *[9] * (width - len(tokens))] for tokens in written]
        return torch.cat([input_ids, torch.tensor(rows)], dim=1)


@pytest.mark.parametrize("end", [7, [6, 7], None])
def test_prompts_of_equal_length_are_written_together_each_up_to_its_end(
    end: int | list[int] | None,
) -> None:
    model = Scripted({20: [11, 7], 21: [12, 13, 14, 15], 22: [16, 7]}, end)
    prompts = [np.array(tokens, np.int32) for tokens in ([20, 3], [22, 3, 4], [21, 3])]
    found = continue_prompts({"one": model}, TOKENIZER, prompts, new_tokens=4)
    assert model.batches == [(2, 2), (1, 3)]
    padded, alone = ([11, 7, 9, 9], [16, 7]) if end is None else ([11], [16])
    assert [one["continuations"]["one"] for one in found] == [
        TOKENIZER.decode(tokens, skip_special_tokens=True)
        for tokens in (padded, alone, [12, 13, 14, 15])
    ]
    assert [one["prompt"] for one in found] == [TOKENIZER.decode(prompt) for prompt in prompts]


def learned_positions(context: int) -> Any:
    """A model that cannot read past its context at all."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=context,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPT2LMHeadModel(config).eval()


def test_nothing_is_asked_beyond_a_context() -> None:
    models = {"teacher": learned_positions(12), "rnn": tiny_student("rnn")}
    prompt = np.arange(3, 13, dtype=np.int32)
    found = continue_prompts(
        models, TOKENIZER, [prompt, np.arange(3, 15, dtype=np.int32)], new_tokens=8
    )
    assert found[1]["continuations"]["teacher"] == ""
    speed = measure_language_speed(models, [prompt, prompt], new_tokens=8, rounds=1)
    assert speed["teacher"]["tokens_per_second"]["value"] > 0


def test_speed_has_the_names_of_the_contract_and_is_that_of_the_clock(models) -> None:
    ticks = iter(range(10**6))
    prompts = [document.token_ids for document in DOCUMENTS[:2]]
    found = measure_language_speed(
        {"pruned": models["pruned"], "rnn": models["rnn"]},
        prompts,
        new_tokens=5,
        rounds=2,
        clock=lambda: next(ticks),
    )
    assert set(found) == {"pruned", "rnn"}
    for metrics in found.values():
        names = {
            "prefill_tokens_per_second",
            "tokens_per_second",
            "latency_ms_p50",
            "latency_ms_p95",
        }
        assert names <= set(metrics)
        assert all({"value", "low", "high"} <= set(metrics[name]) for name in names)
        # Every call takes one tick: a prompt is read in a second, a token is written in a second.
        assert metrics["tokens_per_second"]["value"] == pytest.approx(1.0)
        assert metrics["latency_ms_p50"]["value"] == pytest.approx(1000.0)
        read = sum(len(prompt) for prompt in prompts)
        assert metrics["prefill_tokens_per_second"]["value"] == pytest.approx(read / 2)


def test_a_latency_is_known_as_well_as_its_rounds_agree(models) -> None:
    """The first round takes a second a token, the second one two."""
    calls = (2 + 2) + 2 * (2 + 2 * 2)  # around each call of the model: two tokens first, then three
    ticks = iter(np.cumsum([1.0 if call < 4 + 6 else 2.0 for call in range(calls)]).tolist())
    found = measure_language_speed(
        {"pruned": models["pruned"]},
        [DOCUMENTS[0].token_ids],
        new_tokens=3,
        rounds=2,
        clock=lambda: next(ticks),
    )
    for name in ("latency_ms_p50", "latency_ms_p95"):
        assert (found["pruned"][name]["low"], found["pruned"][name]["high"]) == (1000.0, 2000.0)
    assert found["pruned"]["latency_ms_p50"]["value"] == pytest.approx(1500.0)


def test_a_prompt_of_any_length_reaches_the_process_that_measures_memory(tmp_path: Path) -> None:
    """A word of a command line holds 131,072 characters; and the weights are held in the type that
    is asked for."""
    _, tokenizer = tiny_language_model(texts(KNOWN, 100, seed=9))
    save_model(
        build_language_rnn(LanguageRNN(hidden_size=8), tokenizer), tokenizer, tmp_path / "model"
    )
    longest = np.full(34_000, 200, np.int32)
    assert len(tokenizer) > 200
    assert len(",".join(map(str, longest.tolist()))) > 131_072
    assert peak_memory_bytes(tmp_path / "model", longest, torch.bfloat16) is not None


def test_prompts_are_cut_to_the_shortest_context(models) -> None:
    class Short:
        config = LlamaConfig(max_position_embeddings=40)

    found = cut_to_context(
        [*models.values(), Short()], [np.arange(90), np.arange(20)], new_tokens=32
    )
    assert [len(prompt) for prompt in found] == [8, 8]
