"""First embeddings of a student, taken from its teacher.

In: the student's tokenizer and the teacher's language model. Out: a matrix with one row per student
token: what the teacher makes of the token's text, or, where both have one vocabulary, the teacher's
own row; reduced to the student's width by principal components.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from tutelage.errors import ShapeMismatch
from tutelage.models.computing import one_thread
from tutelage.models.output import below_adapters
from tutelage.runs import atomic_write_bytes, fingerprint
from tutelage.students.vocabulary.token_vectors import (
    pair_pieces,
    pair_vectors,
    token_pieces,
    token_vectors,
)
from tutelage.types import SILENT, Progress


def teacher_embeddings(
    tokenizer: Any,
    language_model: Any,
    *,
    width: int,
    contextual_layer: int | None = None,
    texts: Sequence[str] = (),
    pairs: Mapping[tuple[int, int], int] = MappingProxyType({}),
    power: float = 0.5,
    standard_deviation: float | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> Tensor:
    """Embeddings of the student's tokens in the teacher's terms, reduced to `width`.

    The text of a token (with its leading space where it starts a word) goes through the teacher's
    tokenizer; the mean over its pieces is the token's vector. With a layer and texts, that is mixed
    with the mean of the teacher's states where the token ends in running text, the more of these
    the more often it occurs. All vectors are centred and reduced to their principal components.
    Tokens without text (special ones, lone bytes that the teacher lacks) get small random rows,
    padding gets zero.

    Args:
        tokenizer: The student's, V tokens.
        language_model: Has `model` and `tokenizer`.
        width: The student's embedding size, at most the teacher's hidden size.
        contextual_layer: Take the teacher's hidden states after this many layers, run on the text
            of the token alone (behind its begin token, if it has one); None takes its input
            embeddings.
        texts: Running text in which the tokens occur; used with a layer only. How often a token
            occurs also weighs it in the components, by the square root.
        pairs: Neighbouring tokens of the student that have a vector of their own, and how often
            they occur: the mean over the pieces of both texts, one behind the other, with nothing
            around them. Each token has text.
        power: How much components are evened out: 0 keeps their spread, 1 gives all the same.
        standard_deviation: Of all entries of the result; None means 1 / sqrt(width), rows of length
            about one.
        seed: Of the random rows.
        cache: Folder in which the teacher's vectors are kept, since running them takes a while and
            another student with the same vocabulary needs the same ones; None keeps nothing.
        progress: Where the bar goes.

    Returns:
        float32 [V + pairs, width], pairs behind tokens in the order given, the same on every run;
        each component's largest entry by magnitude is positive.

    Raises:
        ShapeMismatch: `width` exceeds the teacher's hidden size.
        ValueError: `contextual_layer` is not one of the teacher's, or `power` is not in 0 to 1.

    Source: principal components keep most of the geometry of embeddings (Raunak et al. 2019,
        RepL4NLP); vectors of a word run on its own, from a layer of a language model, are the
        "decontextualized" ones of Bommasani et al. 2020 (ACL), section 2.
    """
    model, teacher_tokenizer = language_model.model, language_model.tokenizer
    teacher_width = model.get_input_embeddings().weight.shape[1]
    if width > teacher_width:
        raise ShapeMismatch(
            f"the student's embeddings are {width} wide, the teacher's only {teacher_width}: "
            "choose an embedding size "
            f"of at most {teacher_width}, or embeddings: random"
        )
    texts = texts if contextual_layer is not None else ()
    pieces = token_pieces(tokenizer, teacher_tokenizer)
    rows = [row for row, ids in enumerate(pieces) if ids]
    named = getattr(language_model, "fingerprint", None)
    cache = None if named is None else cache
    key = fingerprint(
        named,
        tokenizer.model_max_length,
        contextual_layer,
        [pieces[row] for row in rows],
        list(texts),
    )
    vectors, counts = _kept_or_made(
        cache,
        key,
        lambda: token_vectors(
            tokenizer,
            language_model,
            pieces,
            rows,
            contextual_layer=contextual_layer,
            texts=texts,
            progress=progress,
        ),
    )
    if pairs:
        of_pairs = pair_pieces(tokenizer, teacher_tokenizer, list(pairs))
        found, _ = _kept_or_made(
            cache,
            fingerprint(named, "pairs", contextual_layer, of_pairs),
            lambda: pair_vectors(
                language_model, of_pairs, contextual_layer=contextual_layer, progress=progress
            ),
        )
        vectors = torch.cat([vectors, found])
        counts = torch.cat([counts, torch.tensor([*pairs.values()], dtype=counts.dtype)])
        rows = [*rows, *range(len(pieces), len(pieces) + len(pairs))]
    scale = standard_deviation or 1 / math.sqrt(width)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(len(pieces) + len(pairs), width, generator=generator) * (scale / 10)
    matrix[rows] = principal_components(
        vectors, width, standard_deviation=scale, power=power, weights=counts.clamp_min(1).sqrt()
    )
    matrix[tokenizer.pad_token_id] = 0
    return matrix


def _kept_or_made(
    cache: Path | None, key: str, make: Callable[[], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Vectors and counts out of the cache; made, and kept there, where it lacks them."""
    kept = None if cache is None else _kept(cache, key)
    if kept is not None:
        return kept["vectors"], kept["counts"]
    vectors, counts = make()
    if cache is not None:
        content = save({"vectors": vectors.contiguous(), "counts": counts})
        atomic_write_bytes(cache / f"{key}.{_digest(content)}.safetensors", content)
    return vectors, counts


def _kept(cache: Path, key: str) -> dict[str, Tensor] | None:
    """What was kept under a key; a file whose content is not what its name says is none."""
    for file in sorted(cache.glob(f"{key}.*.safetensors")):
        try:
            content = file.read_bytes()
        except OSError:
            continue
        if file.name.split(".")[1] == _digest(content):
            return load(content)
    return None


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


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
            f"the embeddings given are {tuple(matrix.shape)}, the model's {tuple(weight.shape)}: "
            "make them with the "
            "model's own tokenizer and width"
        )
    with torch.no_grad():
        weight.copy_(matrix)


EMBEDDING_STD = 0.02
"""Of fresh embeddings in most language models; with it a tied output matrix gives small first
logits."""


def language_embeddings(
    language_model: Any,
    *,
    width: int,
    power: float = 0.5,
    standard_deviation: float = EMBEDDING_STD,
) -> Tensor:
    """The teacher's token embeddings, reduced to `width` by principal components.

    The same tokens mean the same in a student with the teacher's vocabulary, so it need not learn
    from scratch which of them are alike. The mean that is taken out would, in a tied output matrix,
    add the same to all logits.

    Args:
        language_model: Has `model` and `tokenizer`; its vocabulary is the student's.
        width: The student's embedding size, at most the teacher's hidden size.
        power: How much components are evened out: 0 keeps their spread, 1 gives all the same.
        standard_deviation: Of all entries of the result.

    Returns:
        float32 [V, width] on the CPU, V the number of tokens of the tokenizer, without padded rows.

    Raises:
        ShapeMismatch: `width` exceeds the teacher's hidden size, or the teacher has fewer rows than
            tokens.

    Source: principal components keep most of the geometry of embeddings (Raunak et al. 2019,
        RepL4NLP).
    """
    weight = language_model.model.get_input_embeddings().weight.detach()
    rows, teacher_width = weight.shape
    tokens = len(language_model.tokenizer)
    if width > teacher_width:
        raise ShapeMismatch(
            f"the student's embeddings are {width} wide, the teacher's only {teacher_width}: "
            "choose an embedding size "
            f"of at most {teacher_width}, or embeddings: random"
        )
    if tokens > rows:
        raise ShapeMismatch(
            f"the teacher's tokenizer has {tokens} tokens, its model embeddings for {rows} only"
        )
    vectors = weight[:tokens].float().cpu()
    return principal_components(vectors, width, standard_deviation=standard_deviation, power=power)


def set_language_embeddings(model: Any, matrix: Tensor) -> None:
    """Put a matrix in the place of a student's token embeddings, and of its output matrix where the
    two are one.

    Args:
        model: As in `final_states`; changed in place.
        matrix: [V, width].

    Raises:
        ShapeMismatch: The model's embeddings have another shape.
    """
    set_embeddings(below_adapters(model), matrix)


def principal_components(
    vectors: Tensor,
    width: int,
    *,
    standard_deviation: float,
    power: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Vectors centred and projected onto their first `width` principal components, in float64
    inside.

    Args:
        vectors: [N, H], finite, `width` <= H.
        width: Components to keep.
        standard_deviation: Of all entries of the result.
        power: Each component is divided by its own standard deviation to this power, in 0 to 1.
        weights: How much each vector counts, [N], > 0; None counts all alike.

    Returns:
        float32 [N, width]; each component's largest entry by magnitude is positive. Zero where all
        vectors are equal.

    Raises:
        ValueError: `power` is not in 0 to 1.

    Example:
        >>> principal_components(torch.tensor([[0.0, 1.0], [0.0, 3.0]]), 1,
        standard_deviation=1.0).flatten() tensor([ 1., -1.])
    """
    if not 0 <= power <= 1:
        raise ValueError(
            f"power is {power}: give 0 (components keep their spread) to 1 (all the same)"
        )
    with one_thread():  # sums in one order: a killed run may go on with other threads
        return _projected(vectors, width, standard_deviation, power, weights)


def _projected(
    vectors: Tensor, width: int, standard_deviation: float, power: float, weights: Tensor | None
) -> Tensor:
    shares = torch.ones(len(vectors)).double() if weights is None else weights.double()
    shares = (shares / shares.sum())[:, None]
    centred = vectors.double() - (shares * vectors.double()).sum(0)
    variances, directions = torch.linalg.eigh((shares * centred).T @ centred)
    variances, directions = variances.flip(0)[:width], directions.flip(1)[:, :width]
    floor = variances[0].clamp_min(torch.finfo(torch.float64).tiny) * 1e-9
    projected = (centred @ directions) * torch.where(variances > floor, variances, floor) ** (
        -power / 2
    )
    largest = projected.gather(0, projected.abs().argmax(0, keepdim=True))
    projected = torch.where(largest < 0, -projected, projected)
    spread = (
        (shares * projected.square())
        .sum(0)
        .mean()
        .sqrt()
        .clamp_min(torch.finfo(torch.float64).tiny)
    )
    return (projected / spread * standard_deviation).float()
