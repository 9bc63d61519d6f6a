"""The student that exists already: a causal language model from a folder or the hub that reads the
teacher's tokens, and what makes one unusable.

In: where it lies. Out: the model as it is. Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.errors import ModelError, NotEnoughMemory
from tutelage.students.language.lora import Adaptable
from tutelage.students.language.student import Teaching


@dataclass(frozen=True, kw_only=True)
class LanguagePretrained(Adaptable):
    """A causal language model that exists already and reads the teacher's tokens."""

    needs_weights: bool = field(default=False, init=False)
    trims_vocabulary: bool = field(default=False, init=False)
    hidden_weight: float = field(default=0.0, init=False)

    model: Path | str
    """A folder or a hub id."""

    def build(
        self,
        tokenizer: Any,
        *,
        sequence_length: int,
        language_model: Any = None,
        calibration: Sequence[Any] = (),
        seed: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> Any:
        """The model of the folder as it is."""
        from tutelage.models import load_language_student

        del tokenizer, sequence_length, language_model, calibration, seed, say
        return load_language_student(str(self.model))

    def config(self, teacher: Any, *, vocabulary: int | None = None) -> Any:
        """That of the folder."""
        from tutelage.models import read_config

        del teacher, vocabulary
        return read_config(str(self.model))

    def problems(self, teaching: Teaching, *, name: str) -> Iterator[tuple[str, str]]:
        """A model that is not there, writes no text, has another tokenizer, or reads too little."""
        from tutelage.models import (
            check_model,
            context_tokens,
            load_tokenizer,
            model_config,
            require_same_tokenizer,
        )

        model = str(self.model)
        try:
            own = load_tokenizer(model)
            require_same_tokenizer(teaching.tokenizer, own, teaching.texts, name=name)
            config = model_config(model)
        except ModelError as error:
            yield "model", str(error)
            return
        if reason := writes_no_text(model):
            yield "model", reason
            return
        tokens = min(len(teaching.tokenizer), teaching.config.vocab_size)
        if config.vocab_size < tokens:
            yield (
                "model",
                f"has {config.vocab_size:,} rows in its output matrix, but the teacher speaks of "
                f"{tokens:,} tokens: save the student's model and its tokenizer together",
            )
            return
        reads = context_tokens(config)
        if reads is not None and teaching.sequence_length > reads:
            yield (
                "model",
                f"reads at most {reads} tokens but task.sequence_length is "
                f"{teaching.sequence_length}: lower it, or take a student that reads more",
            )
        try:
            check_model(model, head="causal_lm")
        except (ModelError, NotEnoughMemory) as error:
            yield "model", str(error)

    def starts_from(self) -> str:
        """The fingerprint of its weights."""
        from tutelage.models import model_fingerprint

        return model_fingerprint(str(self.model))


def writes_no_text(spec: str, *, trust_remote_code: bool = False) -> str | None:
    """Why a model does not predict next tokens; None: it does.

    Args:
        spec: The model as a recipe names it; its configuration is read.
        trust_remote_code: Run configuration code that comes with it.
    """
    from tutelage.models import continues_text, read_config

    config = read_config(spec, trust_remote_code=trust_remote_code)
    if continues_text(config):
        return None
    return (
        f"is of the kind {config.model_type}, which does not predict a text token by token: give a "
        "causal language model"
    )
