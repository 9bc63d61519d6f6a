"""A causal language model as a classifier that nobody trained: it is asked, and its label words are scored.

In: examples. Out: soft targets, one probability per label. The work is in `prompts` (what is asked), `scoring` (how the
answer is read) and `calibration` (what is corrected).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy.special import log_softmax

from tutelage.errors import ModelError
from tutelage.runs import fingerprint
from tutelage.teachers.calibration import CONTENT_FREE, Calibration, batch, contextual, fitted, identity
from tutelage.teachers.loading import LanguageModel
from tutelage.teachers.prompts import build_prompt
from tutelage.teachers.scoring import LabelScorer
from tutelage.teachers.trie import build_trie
from tutelage.types import SILENT, Example, Progress

_PROBES = ("good", "A", "The room was small, but", "12", "don't")
_FEWEST_TEXT_TOKENS = 16


class PromptedTeacher:
    """Labels texts by the probabilities that a language model gives to label words after a prompt.

    Stateless once built (and calibrated): a text's soft targets depend on nothing but the text. A text that is also one
    of the shots sees its own label in the prompt; leave shots out of what you label if that matters.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        labels: Sequence[str],
        *,
        instruction: str | None = None,
        template: str | None = None,
        verbalizers: Mapping[str, str | Sequence[str]] | None = None,
        chat: bool | Literal["auto"] = "auto",
        shots: Sequence[Example] = (),
        calibration: Literal["none", "contextual", "batch", "fitted"] | Calibration = "none",
        batch_tokens: int = 4096,
        max_length: int = 512,
        reuse_prefix: bool = True,
    ) -> None:
        """Build the prompt, spell the labels, run the shared beginning once.

        Args:
            language_model: Loaded with `head="causal_lm"`.
            labels: Class names in the order of the soft targets.
            instruction: See `build_prompt`.
            template: See `build_prompt`.
            verbalizers: Words that stand for labels.
            chat: Chat template or plain prompt; `auto` uses the template if there is one.
            shots: Labelled examples to show, for instance from `draw_shots`.
            calibration: A method, or a `Calibration` made before. `batch` and `fitted` need `calibrate` first.
            batch_tokens: Tokens run at once; more is faster until memory ends.
            max_length: Tokens of a text that are read; the rest is cut off.
            reuse_prefix: False runs every prompt whole, for comparison.

        Raises:
            ModelError: The prompt cannot be built, or labels cannot be told apart.
        """
        self.labels: tuple[str, ...] = tuple(labels)
        """Class names in the order of the soft targets."""
        self.language_model = language_model
        self._tokenizer = language_model.tokenizer
        self._shots = {shot.example_id for shot in shots}
        self.prompt = build_prompt(
            self._tokenizer,
            labels,
            instruction=instruction,
            template=template,
            verbalizers=verbalizers,
            chat=chat,
            shots=shots,
        )
        self._beginning = self._beginning_tokens()
        sequences, endings = self._label_tokens()
        self.trie = build_trie(sequences, endings=endings)
        self._text_tokens = self._room_for_text(max_length)
        self._scorer = LabelScorer(
            language_model,
            self.trie,
            probes=[self._encode(self.prompt.render(probe)) for probe in _PROBES],
            batch_tokens=batch_tokens,
            reuse_prefix=reuse_prefix,
        )
        self._method = calibration.kind if isinstance(calibration, Calibration) else calibration
        self.calibration: Calibration | None = None
        """The correction in force; None while `batch` or `fitted` waits for `calibrate`."""
        if isinstance(calibration, Calibration):
            self.calibration = calibration
        elif calibration == "none":
            self.calibration = identity(len(labels))
        elif calibration == "contextual":
            self.calibration = contextual(self._logprobs(CONTENT_FREE))
        elif calibration not in ("batch", "fitted"):
            raise ValueError(f"calibration={calibration!r} given; expected none, contextual, batch or fitted")

    @property
    def fingerprint(self) -> str:
        """Names everything the soft targets depend on: weights, precision, prompt, spellings, calibration."""
        prompt = [self.prompt.before, self.prompt.after, [list(words) for words in self.prompt.spellings]]
        method: list[object] = [self._method]
        if (
            self.calibration is not None
        ):  # rounded, so that the last bit of another machine's arithmetic is no other teacher
            method += [round(value, 5) + 0.0 for value in (*self.calibration.bias, self.calibration.temperature)]
        precision = str(self.language_model.dtype)
        return fingerprint(
            "prompted", self.language_model.fingerprint, precision, list(self.labels), prompt, self._text_tokens, method
        )

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self.language_model.parameters

    @property
    def disk_bytes(self) -> int:
        """Size of the weights in the precision they are used in."""
        return self.language_model.disk_bytes

    @property
    def prefix_tokens(self) -> int:
        """Prompt tokens that are run once for all texts; 0 where this model's keys and values cannot be shared."""
        return len(self._scorer.prefix)

    def calibrate(self, examples: Sequence[Example], *, progress: Progress = SILENT) -> Calibration:
        """Estimate the calibration that this teacher was built with.

        Args:
            examples: For `batch` any texts like those to be labelled; for `fitted` labelled rows. Texts
                that serve as shots are left out, since the prompt tells their label.
            progress: Where a bar goes.

        Returns:
            The calibration, now in force.

        Raises:
            DataError: Nothing to learn from.
        """
        rows = {example.example_id: example for example in examples if example.example_id not in self._shots}
        usable = [rows[key] for key in sorted(rows)]
        if self._method == "fitted":
            usable = [example for example in usable if example.label is not None]
        if self._method in ("batch", "fitted"):
            with progress.bar("Calibrating the teacher", total=len(usable), unit="texts") as advance:
                logprobs = self._logprobs([example.text for example in usable], advance)
            gold = np.array([example.label for example in usable if example.label is not None], dtype=np.int64)
            fit = batch(logprobs) if self._method == "batch" else fitted(logprobs, gold)
            self.calibration = fit
        assert self.calibration is not None
        return self.calibration

    def label(self, examples: Sequence[Example]) -> np.ndarray:
        """Soft targets of examples in any order, float32 [B, C], each row summing to 1.

        Raises:
            ModelError: The calibration has not been estimated.
        """
        if self.calibration is None:
            raise ModelError(
                f"calibration: {self._method} has not been estimated; call calibrate(examples) before label"
            )
        logprobs = self.calibration.apply(self._logprobs([example.text for example in examples]))
        return np.exp(logprobs).astype(np.float32)

    def label_mass(self, examples: Sequence[Example]) -> np.ndarray:
        """How much of the model's probability falls on any label at all, before calibration, float32 [B].

        Below about 0.2 the model is not answering the question that the prompt asks, and its soft targets are a guess:
        change the prompt, show shots, or use its chat template.
        """
        scores = self._scorer.class_scores(self._rows([example.text for example in examples]), exact=True)
        return np.exp(scores).sum(axis=1)

    def _logprobs(self, texts: Sequence[str], advance: Callable[[int], None] = lambda _: None) -> np.ndarray:
        """Class log-probabilities before calibration, float64 [N, C]."""
        if not len(texts):
            return np.zeros((0, len(self.labels)))
        scores = self._scorer.class_scores(self._rows(texts), advance=advance)
        return log_softmax(scores.astype(np.float64), axis=1)

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Whole prompts as token ids, long texts cut."""
        prompts = [self.prompt.render(self._cut(text)) for text in texts]
        encoded = self._tokenizer(prompts, add_special_tokens=False)["input_ids"] if prompts else []
        return [[*self._beginning, *ids] for ids in encoded]

    def _cut(self, text: str) -> str:
        """The text's first tokens, as many as there is room for."""
        if len(text.encode("utf-8")) <= self._text_tokens:  # a token is at least one byte
            return text
        if self._tokenizer.is_fast:
            ends = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            return text if len(ends) <= self._text_tokens else text[: ends[self._text_tokens - 1][1]]
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return text if len(ids) <= self._text_tokens else self._tokenizer.decode(ids[: self._text_tokens])

    def _encode(self, prompt: str) -> list[int]:
        return [*self._beginning, *self._tokenizer(prompt, add_special_tokens=False)["input_ids"]]

    def _beginning_tokens(self) -> list[int]:
        """The begin-of-text token, where the tokenizer puts one; a chat template writes its own."""
        marks = [] if self.prompt.chat else self._tokenizer("")["input_ids"]
        return [self._tokenizer.bos_token_id] if marks and marks[0] == self._tokenizer.bos_token_id else []

    def _label_tokens(self) -> tuple[list[list[list[int]]], list[list[int]]]:
        """Per label the token ids of its spellings, and the id of the token that then ends the answer."""
        prompt = self.prompt.render(_PROBES[0])
        sequences = [[self._continuation(prompt, word) for word in words] for words in self.prompt.spellings]
        endings = [
            [self._continuation(prompt + word, self.prompt.ending)[0] for word in words]
            for words in self.prompt.spellings
        ]
        return sequences, endings

    def _continuation(self, prompt: str, more: str) -> list[int]:
        """Token ids of `more` after `prompt`.

        Raises:
            ModelError: The tokenizer fuses the two, so that the continuation has no tokens of its own.
        """
        start, whole = self._encode(prompt), self._encode(prompt + more)
        if whole[: len(start)] != start or len(whole) == len(start):
            raise ModelError(
                f"the tokenizer fuses {more!r} with the end of the prompt, {prompt[-12:]!r}; end the template with "
                "another character, for instance a colon"
            )
        return whole[len(start) :]

    def _room_for_text(self, max_length: int) -> int:
        """Tokens of a text that fit beside the prompt in the model's context, at most `max_length`."""
        context: Any = getattr(self.language_model.model.config.get_text_config(), "max_position_embeddings", None)
        if context is None:
            return max_length
        longest_label = max(len(path) for path in self.trie.paths)
        room = int(context) - len(self._encode(self.prompt.render(""))) - longest_label
        if room < _FEWEST_TEXT_TOKENS:
            raise ModelError(
                f"the prompt leaves {room} tokens for the text in a context of {context}; use fewer shots "
                "or a shorter instruction"
            )
        return min(max_length, room)
