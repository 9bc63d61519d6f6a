"""First embeddings of a student, taken from its teacher.

In: the student's tokenizer and the teacher's language model. Out: a matrix with one row per student token: what the
teacher makes of the token's text, reduced to the student's width by principal components.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tutelage.errors import ShapeMismatch
from tutelage.runs import atomic_write_bytes, fingerprint
from tutelage.students.texts import token_texts
from tutelage.types import SILENT, Progress

BATCH_TOKENS = 2048
LONGEST_TEXT = 512
OCCURRENCES_FOR_HALF = 3
"""A token seen this often takes half of its vector from running text, half from the token on its own."""


class LanguageModel(Protocol):
    """What is asked of a teacher here: a transformers model and its tokenizer."""

    model: Any
    tokenizer: Any


class _Reached(Exception):
    """Carries the hidden states of the layer that was asked for out of a forward pass that need not go on."""

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


def teacher_embeddings(
    tokenizer: Any,
    language_model: Any,
    *,
    width: int,
    contextual_layer: int | None = None,
    texts: Sequence[str] = (),
    power: float = 0.5,
    standard_deviation: float | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> Tensor:
    """Embeddings of the student's tokens in the teacher's terms, reduced to `width`.

    The text of a token (with its leading space where it starts a word) goes through the teacher's tokenizer; the mean
    over its pieces is the token's vector. With a layer and texts, that is mixed with the mean of the teacher's states
    where the token ends in running text, the more of these the more often it occurs. All vectors are centred and
    reduced to their principal components. Tokens without text (special ones, lone bytes that the teacher lacks) get
    small random rows, padding gets zero.

    Args:
        tokenizer: The student's, V tokens.
        language_model: Has `model` and `tokenizer`.
        width: The student's embedding size, at most the teacher's hidden size.
        contextual_layer: Take the teacher's hidden states after this many layers, run on the text of the token alone
            (behind its begin token, if it has one); None takes its input embeddings.
        texts: Running text in which the tokens occur; used with a layer only. How often a token occurs also weighs it
            in the components, by the square root.
        power: How much components are evened out: 0 keeps their spread, 1 gives all the same.
        standard_deviation: Of all entries of the result; None means 1 / sqrt(width), rows of length about one.
        seed: Of the random rows.
        cache: Folder in which the teacher's vectors are kept, since running them takes a while and another student with
            the same vocabulary needs the same ones; None keeps nothing.
        progress: Where the bar goes.

    Returns:
        float32 [V, width], the same on every run; each component's largest entry by magnitude is positive.

    Raises:
        ShapeMismatch: `width` exceeds the teacher's hidden size.
        ValueError: `contextual_layer` is not one of the teacher's, or `power` is not in 0 to 1.

    Source: principal components keep most of the geometry of embeddings (Raunak et al. 2019, RepL4NLP); vectors of a
        word run on its own, from a layer of a language model, are the "decontextualized" ones of Bommasani et al. 2020
        (ACL), section 2.
    """
    model, teacher_tokenizer = language_model.model, language_model.tokenizer
    teacher_width = model.get_input_embeddings().weight.shape[1]
    if width > teacher_width:
        raise ShapeMismatch(
            f"the student's embeddings are {width} wide, the teacher's only {teacher_width}: choose an embedding size "
            f"of at most {teacher_width}, or embeddings: random"
        )
    texts = texts if contextual_layer is not None else ()
    pieces = _pieces(tokenizer, teacher_tokenizer)
    rows = [row for row, ids in enumerate(pieces) if ids]
    key = fingerprint(
        getattr(language_model, "fingerprint", None),
        tokenizer.model_max_length,
        contextual_layer,
        [pieces[row] for row in rows],
        list(texts),
    )
    file = None if cache is None or not hasattr(language_model, "fingerprint") else cache / f"{key}.safetensors"
    if file is not None and file.is_file():
        kept = load_file(file)
        vectors, counts = kept["vectors"], kept["counts"]
    else:
        vectors, counts = _token_vectors(
            tokenizer, language_model, pieces, rows, contextual_layer=contextual_layer, texts=texts, progress=progress
        )
        if file is not None:
            atomic_write_bytes(file, save({"vectors": vectors.contiguous(), "counts": counts}))
    scale = standard_deviation or 1 / math.sqrt(width)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(len(pieces), width, generator=generator) * (scale / 10)
    matrix[rows] = principal_components(
        vectors, width, standard_deviation=scale, power=power, weights=counts.clamp_min(1).sqrt()
    )
    matrix[tokenizer.pad_token_id] = 0
    return matrix


def _token_vectors(
    tokenizer: Any,
    language_model: LanguageModel,
    pieces: Sequence[Sequence[int]],
    rows: Sequence[int],
    *,
    contextual_layer: int | None,
    texts: Sequence[str],
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """The teacher's vectors of the student tokens `rows` `[N, H]`, and how often each occurs in the texts `[N]`."""
    model, teacher_tokenizer = language_model.model, language_model.tokenizer
    counts = torch.zeros(len(pieces))
    total = len(rows) + len(texts)
    with torch.inference_mode(), progress.bar("Embeddings from the teacher", total=total, unit="texts") as advance:
        if contextual_layer is None:
            vectors = _input_vectors(model, [pieces[row] for row in rows])
            advance(len(rows))
            return vectors, counts[rows]
        run = partial(_run, model, layer=contextual_layer, begin=teacher_tokenizer.bos_token_id, advance=advance)
        alone = torch.zeros(len(pieces), model.get_input_embeddings().weight.shape[1])
        run([pieces[row] for row in rows], take=lambda row, states: alone[rows[row]].copy_(states.mean(0)))
        sums = torch.zeros_like(alone)
        ends = _token_ends(tokenizer, teacher_tokenizer, texts)

        def take(row: int, states: Tensor) -> None:
            student_ids, positions = ends[row][1:]
            sums.index_add_(0, student_ids, states[positions])
            counts.index_add_(0, student_ids, torch.ones(len(student_ids)))

        run([of_text[0] for of_text in ends], take=take)
        share = (counts / (counts + OCCURRENCES_FOR_HALF))[:, None]
        vectors = share * sums / counts.clamp_min(1)[:, None] + (1 - share) * alone
    return vectors[rows].clone(), counts[rows].clone()


def principal_components(
    vectors: Tensor, width: int, *, standard_deviation: float, power: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Vectors centred and projected onto their first `width` principal components, in float64 inside.

    Args:
        vectors: [N, H], finite, `width` <= H.
        width: Components to keep.
        standard_deviation: Of all entries of the result.
        power: Each component is divided by its own standard deviation to this power, in 0 to 1.
        weights: How much each vector counts, [N], > 0; None counts all alike.

    Returns:
        float32 [N, width]; each component's largest entry by magnitude is positive. Zero where all vectors are equal.

    Raises:
        ValueError: `power` is not in 0 to 1.

    Example:
        >>> principal_components(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), 1, standard_deviation=1.0).flatten()
        tensor([ 1., -1.])
    """
    if not 0 <= power <= 1:
        raise ValueError(f"power is {power}: give 0 (components keep their spread) to 1 (all the same)")
    shares = torch.ones(len(vectors)).double() if weights is None else weights.double()
    shares = (shares / shares.sum())[:, None]
    centred = vectors.double() - (shares * vectors.double()).sum(0)
    variances, directions = torch.linalg.eigh((shares * centred).T @ centred)
    variances, directions = variances.flip(0)[:width], directions.flip(1)[:, :width]
    floor = variances[0].clamp_min(torch.finfo(torch.float64).tiny) * 1e-9
    projected = (centred @ directions) * torch.where(variances > floor, variances, floor) ** (-power / 2)
    largest = projected.gather(0, projected.abs().argmax(0, keepdim=True))
    projected = torch.where(largest < 0, -projected, projected)
    spread = (shares * projected.square()).sum(0).mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    return (projected / spread * standard_deviation).float()


def set_embeddings(model: Any, matrix: Tensor) -> None:
    """Put a matrix in the place of a model's input embeddings.

    Args:
        model: A transformers model; changed in place.
        matrix: [V, width].

    Raises:
        ShapeMismatch: The model's embeddings have another shape.
    """
    weight = model.get_input_embeddings().weight
    if weight.shape != matrix.shape:
        raise ShapeMismatch(
            f"the embeddings given are {tuple(matrix.shape)}, the model's {tuple(weight.shape)}: make them with the "
            "model's own tokenizer and width"
        )
    with torch.no_grad():
        weight.copy_(matrix)


def _pieces(tokenizer: Any, teacher_tokenizer: Any) -> list[list[int]]:
    """The teacher's token ids for every student token; empty where there is nothing to look up."""
    texts = token_texts(tokenizer)
    shared = teacher_tokenizer.get_vocab() if _is_byte_level(tokenizer) and _is_byte_level(teacher_tokenizer) else {}
    names = tokenizer.convert_ids_to_tokens(list(range(len(texts))))
    special = set(tokenizer.all_special_ids)
    found = [[shared[name]] if name in shared and row not in special else [] for row, name in enumerate(names)]
    rows = [row for row, text in enumerate(texts) if text and not found[row]]
    if rows:
        ids = teacher_tokenizer([texts[row] for row in rows], add_special_tokens=False)["input_ids"]
        for row, of_row in zip(rows, ids, strict=True):
            found[row] = list(of_row)
    return found


def _is_byte_level(tokenizer: Any) -> bool:
    return '"ByteLevel"' in tokenizer.backend_tokenizer.to_str().partition('"model":')[0]


def _input_vectors(model: Any, pieces: Sequence[Sequence[int]]) -> Tensor:
    """Mean of the teacher's input embeddings of each token's pieces."""
    weight = model.get_input_embeddings().weight
    flat = torch.tensor([index for ids in pieces for index in ids], device=weight.device)
    starts = torch.tensor([0, *(len(ids) for ids in pieces[:-1])], device=weight.device).cumsum(0)
    return nn.functional.embedding_bag(flat, weight.float(), starts, mode="mean").cpu()


def _token_ends(tokenizer: Any, teacher_tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], Tensor, Tensor]]:
    """Per text: the teacher's ids, the student's, and where in the teacher's each of the student's tokens ends."""
    if not texts:
        return []
    settings = {"add_special_tokens": False, "return_offsets_mapping": True, "truncation": True}
    student = tokenizer(list(texts), **settings)
    teacher = teacher_tokenizer(list(texts), max_length=LONGEST_TEXT, **settings)
    found = []
    for row, ids in enumerate(teacher["input_ids"]):
        ends = torch.tensor([end for _, end in teacher["offset_mapping"][row]], dtype=torch.long)
        wanted = torch.tensor([end for _, end in student["offset_mapping"][row]], dtype=torch.long)
        positions = torch.searchsorted(ends, wanted)
        inside = positions < len(ids)
        found.append((list(ids), torch.tensor(student["input_ids"][row], dtype=torch.long)[inside], positions[inside]))
    return found


def _run(
    model: Any,
    sequences: Sequence[Sequence[int]],
    *,
    layer: int,
    begin: int | None,
    take: Callable[[int, Tensor], Any],
    advance: Callable[[int], None],
) -> None:
    """Hidden states after `layer` layers of every sequence, given to `take` with the sequence's number."""
    backbone = getattr(model, "base_model", model)
    layers = backbone.config.num_hidden_layers
    if not 0 <= layer <= layers:
        raise ValueError(f"contextual_layer is {layer}: the teacher has {layers} layers, give 0 to {layers}")
    prefix = [] if begin is None else [begin]
    device = next(model.parameters()).device
    order = sorted((row for row in range(len(sequences)) if sequences[row]), key=lambda row: len(sequences[row]))
    while order:
        # The longest of the batch is its last: as many as fit when padded to that.
        size = 1
        while size < len(order) and (size + 1) * (len(sequences[order[size]]) + len(prefix)) <= BATCH_TOKENS:
            size += 1
        batch, order = order[:size], order[size:]
        longest = len(sequences[batch[-1]])
        lengths = [len(sequences[row]) for row in batch]
        ids = torch.tensor([prefix + list(sequences[row]) + [0] * (longest - len(sequences[row])) for row in batch])
        mask = None
        if lengths[0] != longest:
            mask = (torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None] + len(prefix)).long().to(device)
        states = _states_after(backbone, ids.to(device), mask, layer=layer, layers=layers).float().cpu()
        if (
            layer < layers
        ):  # as the norms inside the model do; a few states of a causal model are far larger than the rest
            states = nn.functional.rms_norm(states, states.shape[-1:], eps=1e-6)
        for row, length, of_row in zip(batch, lengths, states, strict=True):
            take(row, of_row[len(prefix) : len(prefix) + length])
        advance(len(batch))
    advance(sum(not sequence for sequence in sequences))


def _states_after(backbone: Any, ids: Tensor, mask: Tensor | None, *, layer: int, layers: int) -> Tensor:
    """hidden_states[layer], leaving the forward pass as soon as they are there."""
    stacks = [module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) == layers]
    if layer in (0, layers) or len(stacks) != 1:
        return backbone(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False).hidden_states[
            layer
        ]

    def leave(_module: nn.Module, _inputs: Any, output: Any) -> None:
        raise _Reached(output[0] if isinstance(output, tuple) else output)

    handle = stacks[0][layer - 1].register_forward_hook(leave)
    try:
        backbone(input_ids=ids, attention_mask=mask, use_cache=False)
    except _Reached as reached:
        return reached.hidden
    finally:
        handle.remove()
    raise AssertionError("the layer's hook was not called")
