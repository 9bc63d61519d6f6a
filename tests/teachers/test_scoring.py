"""The fast scorer promises the numbers of the plain loop: whole prompts, one at a time, full
logits."""

from __future__ import annotations

from functools import wraps

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from tutelage.errors import ModelError
from tutelage.models import LanguageModel, OutputLayer
from tutelage.teachers import PromptedTeacher
from tutelage.teachers.prompted.questions import build_trie
from tutelage.teachers.prompted.scoring import LabelScorer
from tutelage.types import Example

LABELS = ("negative", "neutral", "positive")
VERBALIZERS = {
    "one token each": {"negative": "a", "neutral": "box", "positive": "it"},
    "labels themselves": None,
    "shared first token": {
        "negative": "very bad",
        "neutral": "very so so",
        "positive": "very good",
    },
    "one begins another": {"negative": "neg", "neutral": "negative", "positive": "negative very"},
    "several words": {
        "negative": ["bad", "terrible"],
        "positive": ["good", "great", "very positive"],
    },
}


@torch.no_grad()
def plain_probabilities(
    teacher: PromptedTeacher, examples: list[Example]
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities and label mass by their definition: one text and one spelling at a time,
    all logits."""
    model = teacher.language_model.model
    joint = np.zeros((len(examples), len(teacher.labels)))
    for row, example in enumerate(examples):
        (prompt,) = teacher.question.rows([example.text])
        for path, label in zip(teacher.trie.paths, teacher.trie.classes, strict=True):
            spelling = [teacher.trie.edges[edge][1] for edge in path]
            logits = model(input_ids=torch.tensor([[*prompt, *spelling]])).logits[0].double()
            logprobs = torch.log_softmax(logits, dim=-1)
            total = sum(
                float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(spelling)
            )
            joint[row, label] += np.exp(total)
    return joint / joint.sum(axis=1, keepdims=True), joint.sum(axis=1)


@pytest.mark.parametrize("name", list(VERBALIZERS))
@pytest.mark.parametrize("chat", [False, True])
def test_scores_equal_the_plain_loop(language_model, shots, examples, chat_template, name, chat):
    language_model.tokenizer.chat_template = chat_template if chat else None
    teacher = PromptedTeacher(
        language_model, LABELS, shots=shots, verbalizers=VERBALIZERS[name], chat=chat
    )
    assert teacher.prefix_tokens > 50
    assert teacher.trie.terminated == (name == "one begins another")
    expected, mass = plain_probabilities(teacher, examples)
    assert np.ptp(expected) > 0.02
    np.testing.assert_allclose(teacher.label(examples), expected, atol=1e-5)
    np.testing.assert_allclose(teacher.label_mass(examples), mass, rtol=1e-4)


@pytest.mark.parametrize("name", ["labels themselves", "one begins another"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_both_attentions_and_both_ways_agree(make_model, shots, examples, name, attention):
    language_model = make_model(attn_implementation=attention)
    fast = PromptedTeacher(language_model, LABELS, shots=shots, verbalizers=VERBALIZERS[name])
    whole = PromptedTeacher(
        language_model, LABELS, shots=shots, verbalizers=VERBALIZERS[name], reuse_prefix=False
    )
    assert language_model.model.config._attn_implementation == attention  # as it was before
    assert fast.prefix_tokens > 50
    assert whole.prefix_tokens == 0
    np.testing.assert_allclose(fast.label(examples), whole.label(examples), atol=1e-5)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(order=st.permutations(range(6)), budget=st.sampled_from([1, 60, 100, 4096]))
def test_order_padding_and_batches_change_nothing(language_model, shots, examples, order, budget):
    teacher = PromptedTeacher(language_model, LABELS, shots=shots)
    expected = np.concatenate([teacher.label([example]) for example in examples])
    teacher._scorer.batch_tokens = budget
    np.testing.assert_allclose(
        teacher.label([examples[i] for i in order]), expected[list(order)], atol=1e-6
    )


def test_the_shared_cache_is_never_changed(language_model, shots, examples):
    teacher = PromptedTeacher(language_model, LABELS, shots=shots)
    layers = teacher._scorer._cache.layers
    before = [(layer.keys.clone(), layer.values.clone(), layer.keys.data_ptr()) for layer in layers]
    teacher.label(examples)
    for layer, (keys, values, place) in zip(layers, before, strict=True):
        assert layer.keys.shape[0] == 1
        assert layer.keys.shape[2] == teacher.prefix_tokens
        assert layer.keys.data_ptr() == place
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)


def test_the_normaliser_is_computed_only_inside_labels(
    language_model, shots, examples, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        OutputLayer,
        "log_normaliser",
        lambda self, hidden: asked.append(tuple(hidden.shape)) or torch.zeros(hidden.shape[:-1]),
    )
    teacher = PromptedTeacher(
        language_model, LABELS, shots=shots, verbalizers=VERBALIZERS["one token each"]
    )
    teacher.label(examples)
    assert asked == []
    teacher.label_mass(examples)
    assert [shape[1] for shape in asked] == [1]


def test_batches_count_tree_nodes_and_bound_attention_scores(language_model, shots):
    verbalizers = VERBALIZERS["shared first token"]
    teacher = PromptedTeacher(
        language_model, LABELS, shots=shots, verbalizers=verbalizers, batch_tokens=60
    )
    nodes = len(teacher.trie.parents) - 1
    assert nodes > 0
    assert list(map(len, teacher._scorer._batches([10 - nodes] * 12, offset=50))) == [6, 6]
    probes = [teacher.question.encode(teacher.prompt.render(text)) for text in ("a", "b")]
    bounded = LabelScorer(
        language_model,
        teacher.trie,
        probes=probes,
        batch_tokens=60,
        score_elements=3 * 10 * (10 + 50) * 4,
    )
    assert list(map(len, bounded._batches([10 - nodes] * 12, offset=50))) == [3, 3, 3, 3]


def test_logit_scale_and_soft_cap_are_respected(tokenizer, shots, examples):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=512, final_logit_softcapping=1.5, attn_logit_softcapping=None,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    model.lm_head.weight.data.mul_(30)
    teacher = PromptedTeacher(
        LanguageModel(model, tokenizer, "gemma", "f", torch.float32), LABELS, shots=shots
    )
    expected, _ = plain_probabilities(teacher, examples)
    np.testing.assert_allclose(teacher.label(examples), expected, atol=1e-5)
    assert teacher._scorer._head.cap == 1.5


def test_a_model_whose_cache_cannot_be_shared_is_run_whole(tokenizer, shots, examples, make_model):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=16, pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    sliding = LanguageModel(
        Gemma2ForCausalLM(config).eval(), tokenizer, "sliding", "f", torch.float32
    )
    teacher = PromptedTeacher(sliding, LABELS, shots=shots)
    assert teacher.prefix_tokens == 0
    expected, _ = plain_probabilities(teacher, examples)
    np.testing.assert_allclose(teacher.label(examples), expected, atol=1e-5)


def test_another_architecture(tokenizer, shots, examples):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=512,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    model.transformer.wte.weight.data.mul_(20)
    teacher = PromptedTeacher(
        LanguageModel(model, tokenizer, "gpt2", "f", torch.float32), LABELS, shots=shots
    )
    assert teacher.prefix_tokens > 50
    expected, _ = plain_probabilities(teacher, examples)
    np.testing.assert_allclose(teacher.label(examples), expected, atol=1e-5)


def test_a_model_that_changes_its_logits_otherwise_is_refused(language_model, shots):
    model = language_model.model
    forward = model.forward

    @wraps(forward)
    def bent(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = output.logits * 1.5
        return output

    model.forward = bent
    with pytest.raises(ModelError, match=r"not known here \(they differ by .*use kind: classifier"):
        PromptedTeacher(language_model, LABELS, shots=shots)


def test_a_prompt_that_does_not_begin_like_the_others_is_scored_too(language_model):
    trie = build_trie([[[7]], [[9, 11]]])
    probes = [[*range(20, 40), 50], [*range(20, 40), 51]]
    fast = LabelScorer(language_model, trie, probes=probes)
    plain = LabelScorer(language_model, trie, probes=probes, reuse_prefix=False)
    rows = [[*range(20, 40), 60, 61], [90, 91, 92], list(range(20, 40)), [*range(20, 40), 62]]
    assert len(fast.prefix) == 20
    np.testing.assert_allclose(fast.class_scores(rows), plain.class_scores(rows), atol=1e-4)


def test_bfloat16_stays_near(make_model, shots, examples):
    language_model = make_model()
    expected = PromptedTeacher(language_model, LABELS, shots=shots).label(examples)
    half = LanguageModel(
        language_model.model.to(torch.bfloat16),
        language_model.tokenizer,
        "tiny",
        "f",
        torch.bfloat16,
    )
    got = PromptedTeacher(half, LABELS, shots=shots).label(examples)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=0.1)
