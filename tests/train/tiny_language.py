"""A tiny teacher, tiny students and documents, and the loss of a language model written out in
float64."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.data.tiny_tokenizer import make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from tutelage.losses import Objective
from tutelage.models import LanguageModel
from tutelage.students import add_lora, build_language_rnn, prune
from tutelage.students.language.specs import LanguageRNN
from tutelage.targets import HiddenTargets
from tutelage.teachers import CausalTeacher, label_documents
from tutelage.train import StoredTargets
from tutelage.types import Document

PADDED_ROWS = 13
"""Rows of every transformer's output matrix beyond the ids that the tokenizer makes."""
TOKENIZER = make_tokenizer()
VOCABULARY = len(TOKENIZER)
PAD = int(TOKENIZER.pad_token_id)

SIZES = {
    "vocab_size": VOCABULARY + PADDED_ROWS,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""What every tiny transformer here is made from."""


def tiny_llama(seed: int = 0, *, spread: float = 4.0, **changes: Any) -> Any:
    """A Llama of two layers whose distributions are far from uniform, and whose padded rows would
    win if they could."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(**{**SIZES, "tie_word_embeddings": False, **changes})
        ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(spread)
        model.lm_head.weight.mul_(4)
        model.lm_head.weight[VOCABULARY:] *= 20
    return model


def tiny_teacher(model: Any = None) -> CausalTeacher:
    model = tiny_llama(7) if model is None else model
    language_model = LanguageModel(model, TOKENIZER, "tiny", "tiny-fingerprint", model.dtype)
    return CausalTeacher(language_model, batch_tokens=64)


def tiny_student(kind: str, *, dropout: float = 0.0) -> Any:
    """A fresh student of a kind; every call gives the same weights."""
    match kind:
        case "pruned":
            return prune(tiny_llama(7), layers=1)
        case "transformer":
            return tiny_llama(1)
        case "lora":
            student = add_lora(tiny_llama(1), rank=2, alpha=4)
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                for name, parameter in student.named_parameters():
                    if "lora_B" in name:  # zero at first, which would hide half of the gradients
                        parameter.normal_(std=0.3)
            return student
        case "rnn":
            return build_language_rnn(
                LanguageRNN(hidden_size=16, embedding_size=12, dropout=dropout), TOKENIZER
            )
    raise AssertionError(kind)


def tiny_documents(
    count: int = 12, *, seed: int = 0, longest: int = 14, share: float = 1.0
) -> list[Document]:
    """Random tokens; of all but the first a share is trained."""
    draw = np.random.default_rng(seed)
    documents = []
    for row in range(1, count + 1):
        size = int(draw.integers(2, longest + 1))
        trained = draw.random(size) < share
        trained[0], trained[-1] = False, True
        ids = draw.integers(3, VOCABULARY, size).astype(np.int32)
        documents.append(
            Document(ids, trained, source="train.jsonl", row=row, num_bytes=3 * int(trained.sum()))
        )
    return documents


EXACT: dict[str, dict[str, Any]] = {
    "sampled": {"threshold": 1e-9},  # everything is head: nothing is drawn
    "top_k": {"k": VOCABULARY - 1},  # the last token is the tail
    "hidden": {"bits": 8},
}


def tiny_targets(
    teacher: CausalTeacher,
    documents: Sequence[Document],
    out: Path,
    kind: str = "sampled",
    **encoding,
):
    store = label_documents(
        teacher, documents, out=out, kind=kind, encoding=encoding or EXACT[kind]
    )
    return StoredTargets(store)


def teacher_logits(teacher: CausalTeacher, document: Document) -> np.ndarray:
    """Logits at the trained tokens of one document, read alone, [P, V]."""
    with torch.no_grad():
        ids = torch.from_numpy(document.token_ids.astype(np.int64))[None]
        logits = teacher.language_model.model(input_ids=ids).logits[0, :-1]
    return logits[torch.from_numpy(document.trained[1:]), :VOCABULARY].double().numpy()


def loss_by_definition(
    model: Any,
    documents: Sequence[Document],
    teacher: CausalTeacher | None,
    objective: Objective,
    *,
    total: float,
    stored: StoredTargets | None = None,
) -> torch.Tensor:
    """The objective token by token over whole distributions, each document read alone by the
    model's own forward.

    With `stored` forward KL is taken to what a store holds, entry by entry, in place of the teacher
    itself.
    """
    cost = torch.zeros((), dtype=torch.float64)
    heat, soft_weight = (
        objective.loss_temperature,
        objective.soft_weight if teacher is not None else 0.0,
    )
    for document in documents:
        logits = (
            model(input_ids=torch.from_numpy(document.token_ids.astype(np.int64))[None])
            .logits[0]
            .double()
        )
        theirs = None if teacher is None else torch.from_numpy(teacher_logits(teacher, document))
        for place, token in enumerate(np.flatnonzero(document.trained)):
            row = logits[token - 1, :VOCABULARY]
            cost = (
                cost
                - (1 - soft_weight) * torch.log_softmax(row, -1)[int(document.token_ids[token])]
            )
            if stored is not None:
                cost = cost + soft_weight * stored_divergence(
                    stored, document, place, torch.log_softmax(row, -1)
                )
            elif theirs is not None:
                p, q = (torch.log_softmax(values / heat, -1) for values in (theirs[place], row))
                if objective.divergence == "reverse_kl":
                    p, q = q, p
                cost = cost + soft_weight * heat**2 * (p.exp() * (p - q)).sum()
    return cost / total


def stored_divergence(
    stored: StoredTargets, document: Document, place: int, logprobs: torch.Tensor
) -> torch.Tensor:
    """Forward KL of one position by what the store holds about it; `sampled` as the store reports
    it, CE - H."""
    (found,) = stored.store.lookup([document.example_id])
    if isinstance(found, HiddenTargets):
        side = stored.teacher_side([document], torch.device("cpu"))
        p = torch.log_softmax(
            (side.hidden[place].double() @ side.weight.double().T)[:VOCABULARY], -1
        )
        return (p.exp() * (p - logprobs)).sum()
    start = int(found.counts[:place].sum())
    here = slice(start, start + int(found.counts[place]))
    ids, p = (
        torch.from_numpy(found.ids[here].astype(np.int64)),
        torch.from_numpy(found.logprobs[here]).double(),
    )
    if stored.store.manifest.kind == "sampled":
        return -(p.exp() * logprobs[ids]).sum() - float(found.entropies[place])
    tail, rest = 1 - p.exp().sum(), 1 - logprobs[ids].exp().sum()
    head = (p.exp() * (p - logprobs[ids])).sum()
    return head + (tail * (tail.log() - rest.log()) if tail > 0 else 0.0)
