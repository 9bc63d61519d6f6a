"""A language-model student's first embeddings: those of its teacher, narrower, over the same
vocabulary.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tutelage.errors import ShapeMismatch
from tutelage.models.output import below_adapters
from tutelage.students.classifier.components import principal_components
from tutelage.students.vocabulary.embeddings import set_embeddings

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
