"""A language model's soft targets in a store: the same whatever the batch, the order or the kill,
and true to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.teachers.conftest import tiny_config, tiny_model
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaForCausalLM,
)

from tutelage.errors import ModelError, TargetsMismatch
from tutelage.models import LanguageModel
from tutelage.targets import (
    TargetStore,
    inspect,
    merge,
    read_output_matrix,
    verify,
    write_output_matrix,
)
from tutelage.teachers import CausalTeacher
from tutelage.teachers.causal import distributions as distributions_module
from tutelage.teachers.causal.balancing import FINER
from tutelage.teachers.causal.drawing import uniforms
from tutelage.teachers.labelling import label_documents
from tutelage.types import Document

ENCODINGS = {"sampled": {"threshold": 0.05}, "top_k": {"k": 8}, "hidden": {}}


def documents_of(count: int, vocabulary: int, *, seed: int = 0) -> list[Document]:
    chance = np.random.default_rng(seed)
    found = []
    for row in range(count):
        ids = chance.integers(0, vocabulary, chance.integers(2, 30)).astype(np.int32)
        trained = chance.random(len(ids)) < 0.8
        trained[0] = False
        found.append(Document(ids, trained, "rows.jsonl", row + 1))
    return found


@pytest.fixture
def teacher(tokenizer) -> CausalTeacher:
    language_model = tiny_model(tokenizer)
    language_model.model.model.norm.weight.data.mul_(
        4
    )  # some positions are nearly certain, some nearly flat
    return CausalTeacher(language_model, batch_tokens=64)


@pytest.fixture
def documents(teacher) -> list[Document]:
    return documents_of(14, teacher.vocabulary)


@torch.no_grad()
def definition(teacher: CausalTeacher, document: Document) -> torch.Tensor:
    """What the model itself says about the trained tokens, log-probabilities float64 [P, V]."""
    logits = teacher.language_model.model(
        input_ids=torch.from_numpy(document.token_ids.astype(np.int64))[None]
    ).logits
    places = torch.from_numpy(document.trained[1:].nonzero()[0])
    return torch.log_softmax(logits[0, places, : teacher.vocabulary].double(), dim=-1)


def dense(value, vocabulary: int) -> torch.Tensor:
    table = torch.zeros(len(value), vocabulary, dtype=torch.float64)
    rows = torch.from_numpy(np.repeat(np.arange(len(value)), value.counts))
    table[rows, torch.from_numpy(value.ids.astype(np.int64))] = (
        torch.from_numpy(value.logprobs).double().exp()
    )
    return table


@pytest.mark.parametrize("kind", ENCODINGS)
def test_targets_do_not_depend_on_order_batches_or_kills(
    tmp_path, teacher, documents, kind, monkeypatch
):
    ids = [document.example_id for document in documents]
    first = label_documents(
        teacher, documents, out=tmp_path / "a", kind=kind, encoding=ENCODINGS[kind]
    ).lookup(ids)

    other = CausalTeacher(
        teacher.language_model, batch_tokens=1
    )  # every document in a batch of its own
    real, calls = other.read, []
    gated = len(documents) if kind == "hidden" else 0  # read to say what rounding costs
    sized = 1 if kind == "hidden" else 0  # the text that tells how large each channel is

    def read_and_die(batch):
        calls.append(batch)
        if len(calls) == sized + gated + 9:
            raise KeyboardInterrupt
        return real(batch)

    monkeypatch.setattr(other, "read", read_and_die)
    monkeypatch.setattr(distributions_module, "ELEMENTS_AT_ONCE", 1000)
    backwards = [*documents[::-1], documents[3]]
    with pytest.raises(KeyboardInterrupt):
        label_documents(other, backwards, out=tmp_path / "b", kind=kind, encoding=ENCODINGS[kind])
    asked = len(calls)
    store = label_documents(
        other, backwards, out=tmp_path / "b", kind=kind, encoding=ENCODINGS[kind]
    )
    again = len(calls) - asked - gated
    assert again == len(documents) - 8  # what was written before the kill is not asked again
    assert len(store) == len(documents)
    assert verify(tmp_path / "b") == []
    # A state differs in its last bits with the batch, so now and then a value is rounded the other
    # way.
    same = []
    for one, two in zip(first, store.lookup(ids), strict=True):
        if kind == "hidden":
            same += (np.abs(one.states.astype(int) - two.states).max(axis=1) <= 1).tolist()
        else:
            assert np.array_equal(one.counts, two.counts)
            same += [np.array_equal(one.ids, two.ids), np.array_equal(one.logprobs, two.logprobs)]
    assert np.mean(same) > 0.9


@pytest.mark.parametrize("kind", ENCODINGS)
def test_stores_of_two_processes_are_one(tmp_path, teacher, documents, kind):
    """Whatever documents a process has, what it writes fits what the others write: channels of
    states included."""
    teacher = CausalTeacher(
        teacher.language_model, batch_tokens=1
    )  # the same batches, hence the same bits
    ids = [document.example_id for document in documents]
    options = {"kind": kind, "encoding": ENCODINGS[kind]}
    whole = label_documents(teacher, documents, out=tmp_path / "whole", **options).lookup(ids)
    for name, part in (("a", documents[:8]), ("b", documents[6:])):
        label_documents(teacher, part, out=tmp_path / name, **options)
    for one, two in zip(
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "both").lookup(ids), whole, strict=True
    ):
        names = ("states", "scales") if kind == "hidden" else ("ids", "logprobs")
        assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in names)


def test_channels_that_lie_there_are_kept(tmp_path, teacher, documents):
    """Whose states differ in last bits, on another machine say, can be given the channels of the
    others."""
    options = {"kind": "hidden", "encoding": {}}
    label_documents(teacher, documents[:2], out=tmp_path / "a", **options)
    sizes = read_output_matrix(tmp_path / "a").channels
    assert sizes is not None
    assert (sizes > 0).all()
    (tmp_path / "b").mkdir()
    matrix = teacher.head.weight[: teacher.vocabulary].float().detach().numpy()
    write_output_matrix(tmp_path / "b", weight=matrix, channels=sizes * 2, scale=teacher.head.scale)
    label_documents(teacher, documents[2:], out=tmp_path / "b", **options)
    assert np.array_equal(read_output_matrix(tmp_path / "b").channels, sizes * 2)
    with pytest.raises(TargetsMismatch, match="encoding"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "both")


def test_a_finished_store_asks_nothing(tmp_path, teacher, documents, monkeypatch):
    options = {"out": tmp_path / "targets", "kind": "sampled", "encoding": {"budget": 6}}
    label_documents(teacher, documents, **options)
    monkeypatch.setattr(teacher, "read", lambda _: pytest.fail("a document was read again"))
    assert len(label_documents(teacher, documents, **options)) == len(documents)
    with pytest.raises(TargetsMismatch, match="encoding"):
        label_documents(teacher, documents, **(options | {"encoding": {"budget": 7}}))


def test_sampled_says_what_the_model_says(tmp_path, teacher, documents):
    """Heads are the model's own probabilities, and each position is drawn with its own number."""
    store = label_documents(
        teacher,
        documents,
        out=tmp_path / "targets",
        kind="sampled",
        encoding={"threshold": 0.05},
        seed=3,
    )
    for document in documents:
        (value,) = store.lookup([document.example_id])
        expected = definition(teacher, document)
        assert len(value) == document.positions
        found = dense(value, teacher.vocabulary)
        assert found.sum(dim=-1).numpy() == pytest.approx(1, abs=1e-5)
        offsets = uniforms(3, document.example_id, document.positions)
        starts = np.cumsum(value.counts, dtype=np.int64) - value.counts
        for row in range(len(value)):
            heads = value.ids[starts[row] : starts[row] + value.heads[row]]
            assert sorted(heads) == (expected[row] >= np.log(0.05)).nonzero()[:, 0].tolist()
            tail = expected[row].exp().clone()
            tail[torch.from_numpy(heads.astype(np.int64))] = 0
            draws = value.counts[row] - value.heads[row]
            if tail.sum() < 1e-6:
                continue
            step = tail.sum() / int(draws)
            points = (offsets[row] + torch.arange(FINER * int(draws))) * step / FINER
            met = torch.searchsorted(tail.cumsum(0), points).numpy()
            drawn = value.ids[starts[row] + value.heads[row] : starts[row] + value.counts[row]]
            assert np.isin(drawn, met).mean() > 0.7  # a border may be crossed by rounding
        exact = -(expected.exp() * expected).sum(dim=-1)
        assert value.entropies.mean() == pytest.approx(float(exact.mean()), abs=0.1)


def test_top_k_keeps_the_mass_of_the_rest(tmp_path, teacher, documents):
    store = label_documents(
        teacher, documents, out=tmp_path / "targets", kind="top_k", encoding={"k": 8}
    )
    for document in documents:
        (value,) = store.lookup([document.example_id])
        expected = definition(teacher, document).exp().topk(8, dim=-1)
        assert np.array_equal(value.ids.reshape(-1, 8), expected.indices.numpy())
        kept = np.exp(value.logprobs.astype(np.float64)).reshape(-1, 8)
        assert kept == pytest.approx(expected.values.numpy(), abs=0.01)
        assert (1 - kept.sum(axis=1)) == pytest.approx(
            1 - expected.values.sum(dim=-1).numpy(), abs=0.01
        )
    assert inspect(tmp_path / "targets")["kept_mass"] < 0.99


SIZES = {
    "vocab_size": 0,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "pad_token_id": 0,
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
MODELS = {
    "plain": (LlamaForCausalLM, None, {}),
    "soft-capped": (
        Gemma2ForCausalLM,
        Gemma2Config,
        {
            "final_logit_softcapping": 2.0,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "attn_implementation": "eager",
        },
    ),
    "multiplied": (CohereForCausalLM, CohereConfig, {"logit_scale": 0.25}),
    "divided": (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 3.0}),
}


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_and_matrix_are_the_models_distribution(tmp_path, tokenizer, name):
    """Soft cap and logit scale of the teacher are in the store, and what eight bits cost is
    little."""
    model_class, config_class, extra = MODELS[name]
    torch.manual_seed(0)
    sizes = SIZES | HEADS | {"vocab_size": len(tokenizer)}
    config = tiny_config(len(tokenizer)) if config_class is None else config_class(**sizes, **extra)
    model = model_class(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(6)
    teacher = CausalTeacher(
        LanguageModel(model, tokenizer, name, name, torch.float32), batch_tokens=64
    )
    documents = documents_of(6, teacher.vocabulary)
    store = label_documents(
        teacher, documents, out=tmp_path / "targets", kind="hidden", encoding={}
    )
    matrix = store.output_matrix()
    assert (matrix.cap, matrix.scale) == {
        "plain": (None, 1.0), "soft-capped": (2.0, 1.0), "multiplied": (None, 0.25), "divided": (None, 1 / 3)
    }[name]  # fmt: skip
    bias = 0 if matrix.bias is None else matrix.bias
    for document in documents:
        (value,) = store.lookup([document.example_id])
        logits = matrix.scale * ((value.states * value.scales[:, None]) @ matrix.weight.T + bias)
        logits = logits if matrix.cap is None else matrix.cap * np.tanh(logits / matrix.cap)
        expected, found = (
            definition(teacher, document),
            torch.log_softmax(torch.from_numpy(logits).double(), dim=-1),
        )
        assert float((expected.exp() * (expected - found)).sum(dim=-1).mean()) < 2e-3
        assert (
            float((expected - expected.mean(dim=-1, keepdim=True)).abs().max()) > 0.5
        )  # not flat: a scale would show
        exact = -(expected.exp() * expected).sum(dim=-1)
        assert value.entropies == pytest.approx(exact.numpy(), abs=1e-4)


def test_a_state_that_is_no_number_is_named(tmp_path, teacher, documents):
    teacher.language_model.model.model.norm.weight.data[0] = torch.nan
    with pytest.raises(ModelError, match=r"rows\.jsonl row \d+"):
        label_documents(
            teacher,
            documents,
            out=tmp_path / "targets",
            kind="sampled",
            encoding={"threshold": 0.05},
        )
    assert len(TargetStore.open(tmp_path / "targets", allow_incomplete=True)) == 0


@pytest.mark.parametrize("kind", ENCODINGS)
def test_a_teacher_in_bfloat16_labels(tmp_path, tokenizer, documents, kind):
    half = tiny_model(tokenizer)
    half.model.model.norm.weight.data.mul_(4)
    half.model.to(torch.bfloat16)
    teacher = CausalTeacher(replace(half, dtype=torch.bfloat16), batch_tokens=64)
    store = label_documents(
        teacher, documents, out=tmp_path / "targets", kind=kind, encoding=ENCODINGS[kind]
    )
    (value,) = store.lookup([documents[0].example_id])
    exact = definition(teacher, documents[0])
    assert value.entropies.mean() == pytest.approx(
        float(-(exact.exp() * exact).sum(-1).mean()), abs=0.1
    )
