"""How language students read packed documents, and how their states become logits."""

import copy
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.students.tiny_causal_models import MODELS, SIZES, built
from torch import nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MambaConfig,
    MambaForCausalLM,
)

from tutelage.errors import ModelError
from tutelage.models import OutputLayer, attention, output_layer, packs
from tutelage.models.final_states import final_states, positions_within
from tutelage.students.language.lora import add_lora

LENGTHS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=3)


@pytest.fixture(scope="module", params=list(MODELS))
def model(request):
    return built(*MODELS[request.param])


@pytest.fixture(scope="module")
def exact(model):
    """In float64, so that what differs is no rounding."""
    return copy.deepcopy(model).double()


class Recurrent(nn.Module):
    """What is known here of a recurrent student."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(60, 6)

    def hidden_states(self, input_ids):
        return self.embedding(input_ids).cumsum(1)

    def output_layer(self):
        return OutputLayer(self.embedding.weight)


def packed(rows, *, vocabulary=60, seed=0):
    """Ids, positions and segments of rows of documents of these lengths, padded on the right with
    anything."""
    longest = max(sum(row) for row in rows)
    ids = torch.randint(
        0, vocabulary, (len(rows), longest), generator=torch.Generator().manual_seed(seed)
    )
    segments = torch.zeros(len(rows), longest, dtype=torch.int32)
    positions = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, lengths in enumerate(rows):
        start = 0
        for number, length in enumerate(lengths, 1):
            segments[row, start : start + length] = number
            positions[row, start : start + length] = torch.arange(length)
            start += length
    return ids, positions, segments


@contextmanager
def attention_seen(model):
    """The masks that the first layer is given, one for each reading."""
    seen = []
    block = next(
        module for name, module in model.named_modules() if name.endswith(("self_attn", "attn"))
    )
    handle = block.register_forward_pre_hook(
        lambda _module, _args, settings: seen.append(settings["attention_mask"]), with_kwargs=True
    )
    try:
        yield seen
    finally:
        handle.remove()


def alone(model, ids):
    """As transformers reads one document with nothing beside it."""
    inner = getattr(model, "base_model", model)
    return inner(input_ids=ids[None]).last_hidden_state[0]


@given(rows=LENGTHS, seed=st.integers(0, 9))
@settings(max_examples=12, deadline=None)
def test_packed_documents_read_as_if_each_were_alone(exact, rows, seed):
    model = exact
    ids, positions, segments = packed(rows, seed=seed)
    with torch.inference_mode():
        found = [
            final_states(model, ids, positions, segments),
            final_states(model, ids, None, segments),
        ]
        for row in range(len(rows)):
            for number in range(1, len(rows[row]) + 1):
                inside = segments[row] == number
                expected = alone(model, ids[row][inside])
                for states in found:
                    torch.testing.assert_close(states[row][inside], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama sdpa", "learned positions", "one window, sdpa"])
@pytest.mark.parametrize("rows", [[[3, 1]], [[1, 2, 1], [3]], [[2, 1, 1], [3, 1]]])
def test_attention_by_document_and_by_mask_are_the_same(name, rows, monkeypatch):
    model = built(*MODELS[name])
    ids, positions, segments = packed(rows)
    found = []
    with attention_seen(model) as seen:
        for by_mask in (False, True):
            if by_mask:
                monkeypatch.setattr(
                    attention, "attends_through_the_interface", lambda _model: False
                )
            states = final_states(model, ids, positions, segments)
            states[segments > 0].square().sum().backward()
            found.append(
                [states.detach()[segments > 0], *(weight.grad for weight in model.parameters())]
            )
            model.zero_grad()
    for by_document, masked in zip(*found, strict=True):  # sums of many products, in another order
        torch.testing.assert_close(by_document, masked, atol=5e-4, rtol=1e-4)
    width = segments.shape[1]
    assert [tuple(mask.shape) for mask in seen] == [
        (len(rows), 1, 1, width),
        (len(rows), 1, width, width),
    ]
    assert [mask.dtype for mask in seen] == [segments.dtype, torch.bool]
    assert model.config._attn_implementation == "sdpa"


def own_configuration(model):
    model.model.layers[1].self_attn.config = copy.deepcopy(model.config)


def checkpointed(model):
    model.train().activation_checkpointing_enable()


@pytest.mark.parametrize("changed", [own_configuration, checkpointed])
def test_layers_that_would_not_find_the_name_are_masked(changed):
    model = built(*MODELS["llama sdpa"])
    changed(model)
    ids, positions, segments = packed([[2, 2]])
    with attention_seen(model) as seen:
        final_states(model, ids, positions, segments).sum().backward()
    assert {tuple(mask.shape) for mask in seen} == {(1, 1, 4, 4)}


def test_a_model_that_changes_its_mask_gets_one():
    model = built(*MODELS["a mask of its own"])
    with attention_seen(model) as seen:
        final_states(model, *packed([[2, 2]]))
    assert [tuple(mask.shape) for mask in seen] == [(1, 1, 1, 4), (1, 1, 4, 4)]


def test_attention_by_document_under_autocast_and_dropout():
    """In bfloat16 each document is read as if it were alone; dropout draws the same numbers from
    the same seed."""
    model = built(*MODELS["learned positions"])
    ids, positions, segments = packed([[3, 4], [5]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        cut = final_states(model, ids, positions, segments)
        whole = [alone(model, row[:length]) for row, length in zip(ids, (3, 5), strict=True)]
    for row, expected in enumerate(whole):
        torch.testing.assert_close(cut[row, : len(expected)], expected, atol=0.05, rtol=0.05)
    model.train()
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(final_states(model, ids, positions, segments).detach()[segments > 0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_attention_is_as_before_after_a_failure(llama):
    with pytest.raises(IndexError):
        final_states(llama, torch.full((1, 2), 99), None, torch.tensor([[1, 2]]))
    assert llama.config._attn_implementation == "sdpa"


def test_a_window_shorter_than_a_row_is_masked():
    model = built(*MODELS["one window, sdpa"])
    with attention_seen(model) as seen:
        final_states(model, *packed([[3, 3]]))
    assert [tuple(mask.shape) for mask in seen] == [(1, 1, 6, 6)]


def test_gradients_stay_inside_a_document(llama):
    ids, positions, segments = packed([[3, 4], [2, 2]])
    embedded = {}
    handle = llama.model.embed_tokens.register_forward_hook(
        lambda _m, _i, output: embedded.update(it=output)
    )
    states = final_states(llama, ids, positions, segments)
    handle.remove()
    embedded["it"].retain_grad()
    states[0, 3:7].sum().backward()
    reached = embedded["it"].grad.abs().sum(-1) > 0
    assert reached.tolist() == [[False] * 3 + [True] * 4, [False] * 7]
    llama.zero_grad()


@pytest.mark.parametrize("rows", [[[5], [8], [3]], [[1]]])
def test_no_mask_is_made_for_one_document_a_row(llama, rows):
    ids, positions, segments = packed(rows)
    seen = []
    handle = llama.model.layers[0].self_attn.register_forward_pre_hook(
        lambda _m, _args, settings: seen.append((settings["attention_mask"], settings["cache"])),
        with_kwargs=True,
    )
    with torch.inference_mode():
        states = final_states(llama, ids, positions, segments)
        assert torch.equal(final_states(llama, ids), states)
    handle.remove()
    assert seen == [(None, None)] * 2
    with torch.inference_mode():
        for row, (length,) in enumerate(rows):
            torch.testing.assert_close(
                states[row, :length], alone(llama, ids[row, :length]), atol=1e-5, rtol=1e-5
            )


def test_a_model_with_adapters_is_read_the_same_way():
    wrapped = add_lora(built(*MODELS["llama sdpa"][:2]), rank=2, alpha=4).eval()
    ids, positions, segments = packed([[3, 4]])
    with torch.no_grad(), attention_seen(wrapped) as seen:
        expected = alone(wrapped.get_base_model(), ids[0, 3:])
        torch.testing.assert_close(final_states(wrapped, ids, positions, segments)[0, 3:], expected)
    assert [None if mask is None else tuple(mask.shape) for mask in seen] == [None, (1, 1, 1, 7)]
    assert packs(wrapped)
    assert output_layer(wrapped).weight is wrapped.get_base_model().lm_head.weight


def test_positions():
    segments = packed([[3, 1, 2], [6]])[2]
    assert positions_within(segments).tolist() == [[0, 1, 2, 0, 0, 1], [0, 1, 2, 3, 4, 5]]


def test_recurrent_students_take_one_document_a_row():
    model = Recurrent()
    ids, positions, segments = packed([[4], [2]])
    assert not packs(model)
    assert torch.equal(final_states(model, ids, positions, segments), model.hidden_states(ids))
    assert output_layer(model).weight is model.embedding.weight
    assert output_layer(model).scale == 1.0
    with pytest.raises(
        ValueError, match=r"Recurrent lets one document run into the next.*one document in each row"
    ):
        final_states(model, *packed([[2, 2]]))


def test_models_that_look_back_by_other_means_do_not_pack():
    mamba = MambaForCausalLM(
        MambaConfig(vocab_size=60, hidden_size=8, state_size=2, num_hidden_layers=1)
    )
    bloom = BloomForCausalLM(BloomConfig(vocab_size=60, hidden_size=8, n_layer=1, n_head=2)).eval()
    assert not packs(mamba)
    assert not packs(bloom)
    ids, positions, segments = packed([[4], [2]])
    with torch.inference_mode():
        states = final_states(bloom, ids, positions, segments)
        torch.testing.assert_close(states[1, :2], alone(bloom, ids[1, :2]), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="BloomForCausalLM lets one document run into the next"):
        final_states(bloom, *packed([[2, 2]]))


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (LlamaForCausalLM, LlamaConfig(**SIZES)),
        (GraniteForCausalLM, GraniteConfig(**SIZES, logits_scaling=4.0)),
        (CohereForCausalLM, CohereConfig(**SIZES, logit_scale=0.25, pad_token_id=0)),
        (Gemma2ForCausalLM, Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.5)),
    ],
)
def test_states_and_output_layer_make_the_models_own_logits(kind, config):
    model = built(kind, config, "eager")
    ids = packed([[6]])[0]
    with torch.inference_mode():
        output = output_layer(model)
        logits = (
            nn.functional.linear(final_states(model, ids), output.weight, output.bias)
            * output.scale
        )
        if output.cap:
            logits = output.cap * torch.tanh(logits / output.cap)
        torch.testing.assert_close(logits, model(input_ids=ids).logits)


def test_a_classifier_has_no_output_matrix():
    with pytest.raises(
        ModelError, match="LlamaForSequenceClassification has no output matrix: give a causal"
    ):
        output_layer(LlamaForSequenceClassification(LlamaConfig(**SIZES)))
