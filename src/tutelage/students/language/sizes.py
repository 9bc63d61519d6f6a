"""How many weights a language-model student will have, before there is one.

In: what a recipe says of a student, and the configuration of its teacher. Out: a number. No weights
are made or read.
"""

from __future__ import annotations

from typing import Any

from tutelage.errors import ModelError
from tutelage.models.reading import read_config
from tutelage.models.rebuilding import empty_model
from tutelage.students.language.configuration import RecurrentLanguageConfig
from tutelage.students.language.transformer import language_transformer_config
from tutelage.students.pruning.plan import plan_pruning, pruned_config
from tutelage.students.pruning.pruning import keep_layers


def language_parameters(student: Any, teacher_config: Any, *, vocabulary: int | None = None) -> int:
    """Number of weights of a student, tied ones once, adapters merged.

    Args:
        student: Has `kind` (`pruned`, `transformer`, `rnn`, `pretrained`) and the sizes of its
            kind, as the section of a recipe does.
        teacher_config: The teacher's configuration of transformers.
        vocabulary: Number of tokens of the student; None means as many as the teacher has rows,
            which is the most that it can be.

    Returns:
        The number of weights.

    Raises:
        ModelError: The teacher cannot be pruned, the kind is unknown, or the student's folder
            cannot be read.
        ValueError: Sizes that do not fit.
    """
    config = teacher_config.get_text_config()
    tokens = config.vocab_size if vocabulary is None else vocabulary
    match student.kind:
        case "pruned":
            sizes = plan_pruning(
                config,
                layers=student.layers,
                hidden_size=student.hidden_size,
                heads=student.heads,
                intermediate_size=student.intermediate_size,
            )
            smaller = pruned_config(
                config, sizes, kept_layers=keep_layers(config.num_hidden_layers, sizes.layers)
            )
            smaller.vocab_size = tokens
            smaller.pad_token_id = None  # it may lie beyond a smaller vocabulary
        case "transformer":
            smaller = language_transformer_config(
                tokens,
                layers=student.layers,
                hidden_size=student.hidden_size,
                heads=student.heads,
                kv_heads=student.kv_heads,
                intermediate_size=student.intermediate_size,
            )
        case "rnn":
            smaller = RecurrentLanguageConfig(
                vocab_size=tokens,
                cell=student.cell,
                hidden_size=student.hidden_size,
                embedding_size=student.embedding_size or student.hidden_size,
                layers=student.layers,
            )
        case "pretrained":
            smaller = read_config(str(student.model))
        case _:
            raise ModelError(
                f"kind is {student.kind!r}: expected pruned, transformer, rnn or pretrained"
            )
    return sum(parameter.numel() for parameter in empty_model(smaller).parameters())
