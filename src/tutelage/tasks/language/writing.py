"""A language-model student at work: a text in, what it writes after it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage.data.documents.chat import has_chat_template
from tutelage.data.documents.control_tokens import ControlTokens
from tutelage.data.documents.prompts import prompt_ids, prompt_text
from tutelage.data.documents.tokenizing import Trainable
from tutelage.errors import DataError, ModelError
from tutelage.models import context_tokens, load_language_student, load_tokenizer
from tutelage.models.computing import require_embeddings
from tutelage.models.refusals import first_line
from tutelage.tasks.language.recipe import LanguageRecipe

NEW_TOKENS = 64
"""The most tokens written, where no recipe says so."""


@dataclass(frozen=True, eq=False)
class Writer:
    """A loaded language-model student that goes on where a text ends."""

    model: Any
    """The student, in evaluation mode."""
    tokenizer: Any
    """Its tokenizer."""
    as_message: bool = False
    """Whether a text is what a user says, to be answered, or the beginning of a text."""
    new_tokens: int = NEW_TOKENS
    """The most tokens written."""
    control_as_text: bool = True
    """Whether control tokens that a text spells are text, as they were in training."""

    @classmethod
    def load(cls, folder: Path, recipe: LanguageRecipe | None = None) -> Writer:
        """A student from its folder; in a run, texts are read as the recipe's data was.

        Raises:
            ModelError: There is no language model, or no tokenizer.
        """
        model, tokenizer = load_language_student(str(folder)), load_tokenizer(str(folder))
        if recipe is None:
            return cls(model, tokenizer)
        as_message = recipe.data.text_field is None and has_chat_template(tokenizer)
        new_tokens = recipe.evaluate.generation_tokens or NEW_TOKENS
        as_text = recipe.data.control_tokens != "tokens"
        return cls(model, tokenizer, as_message, new_tokens, as_text)

    @torch.inference_mode()
    def write(self, text: str) -> str:
        """What the student writes after a text: its first choice at every token, so always the
        same.

        Args:
            text: What the user says where the student was trained on conversations or prompts with
                a chat template; else the beginning of a text.

        Raises:
            DataError: The text leaves no room for a token.
        """
        ids = self._ids(text)
        vocabulary = self.model.config.get_text_config().vocab_size
        require_embeddings([ids], vocabulary, tokenizer=self.tokenizer, name="the student")
        longest = context_tokens(self.model.config)
        room = self.new_tokens if longest is None else min(self.new_tokens, longest - len(ids))
        if room < 1:
            raise DataError(
                f"the text has {len(ids):,} tokens, but the student reads and writes {longest:,} "
                "in all: shorten it"
            )
        prompt = torch.tensor([ids], device=self.model.device)
        try:
            written = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=room,
                do_sample=False,
                num_beams=1,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
            raise ModelError(
                f"the student cannot go on from this text ({first_line(error)}): look at its "
                "generation_config.json, or remove it"
            ) from error
        return self.tokenizer.decode(written[0, len(ids) :], skip_special_tokens=True)

    def _ids(self, text: str) -> list[int]:
        """The text as documents of training begin."""
        control = ControlTokens(self.tokenizer) if self.control_as_text else None
        if self.as_message:
            read = prompt_text(self.tokenizer, text, control=control)
        else:
            read = Trainable(text, literal=() if control is None else control.spelled(text))
        return prompt_ids(self.tokenizer, read, is_rendered=self.as_message)
