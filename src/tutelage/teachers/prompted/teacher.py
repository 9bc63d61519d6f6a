"""A causal language model as a classifier that nobody trained: it is asked, and its label words are
scored.

In: examples. Out: soft targets, one probability per label. The work is in `prompts` (what is
asked), `questions` (the same in the model's tokens), `scoring` (how the answer is read) and
`calibration` (what is corrected).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from scipy.special import log_softmax

from tutelage.errors import ModelError
from tutelage.models.loading import LanguageModel
from tutelage.runs import fingerprint
from tutelage.teachers.prompted.calibration import (
    CONTENT_FREE,
    Calibration,
    batch,
    contextual,
    fitted,
    uncalibrated,
)
from tutelage.teachers.prompted.questions import build_question
from tutelage.teachers.prompted.scoring import LabelScorer
from tutelage.types import SILENT, Example, Progress

CALIBRATION_ROWS = 500
"""How many texts a calibration is estimated from, at most. It has a number or two a class, whose
error shrinks with the root of the rows only, while every row costs the teacher an answer."""
_PROBES = ("good", "A", "The room was small, but", "12", "don't")


class PromptedTeacher:
    """Labels texts by the probabilities that a language model gives to label words after a prompt.

    Stateless once built (and calibrated): a text's soft targets depend on nothing but the text. A
    text that is also one of the shots sees its own label in the prompt; leave shots out of what you
    label if that matters.
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
            calibration: A method, or a `Calibration` made before. `batch` and `fitted` need
                `calibrate` first.
            batch_tokens: Tokens run at once; more is faster until memory ends.
            max_length: Tokens of a text that are read; the rest is cut off.
            reuse_prefix: False runs every prompt whole, for comparison.

        Raises:
            ModelError: The prompt cannot be built, or labels cannot be told apart.
        """
        self.labels: tuple[str, ...] = tuple(labels)
        """Class names in the order of the soft targets."""
        self.language_model = language_model
        self._shots = {shot.example_id for shot in shots}
        self.question = build_question(
            language_model.tokenizer,
            language_model.model.config,
            labels,
            instruction=instruction,
            template=template,
            verbalizers=verbalizers,
            chat=chat,
            shots=shots,
            max_length=max_length,
        )
        """The prompt in the model's tokens."""
        self.prompt = self.question.prompt
        self.trie = self.question.trie
        self._scorer = LabelScorer(
            language_model,
            self.trie,
            probes=[self.question.encode(self.prompt.render(probe)) for probe in _PROBES],
            batch_tokens=batch_tokens,
            reuse_prefix=reuse_prefix,
        )
        self._method = calibration.kind if isinstance(calibration, Calibration) else calibration
        self.calibration: Calibration | None = None
        """The correction in force; None while `batch` or `fitted` waits for `calibrate`."""
        if isinstance(calibration, Calibration):
            self.calibration = calibration
        elif calibration == "none":
            self.calibration = uncalibrated(len(labels))
        elif calibration == "contextual":
            self.calibration = contextual(self._logprobs(CONTENT_FREE))
        elif calibration not in ("batch", "fitted"):
            raise ValueError(
                f"calibration={calibration!r} given; expected none, contextual, batch or fitted"
            )

    @property
    def fingerprint(self) -> str:
        """Names everything the soft targets depend on: weights, precision, prompt, spellings,
        calibration.
        """
        prompt = [
            self.prompt.before,
            self.prompt.after,
            [list(words) for words in self.prompt.spellings],
        ]
        method: list[object] = [self._method]
        if (
            self.calibration is not None
        ):  # rounded, so that the last bit of another machine's arithmetic is no other teacher
            method += [
                round(value, 5) + 0.0
                for value in (*self.calibration.bias, self.calibration.temperature)
            ]
        precision = str(self.language_model.dtype)
        return fingerprint(
            "prompted",
            self.language_model.fingerprint,
            precision,
            list(self.labels),
            prompt,
            self.question.text_tokens,
            method,
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
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.device

    @property
    def prefix_tokens(self) -> int:
        """Prompt tokens that are run once for all texts; 0 where this model's keys and values
        cannot be shared.
        """
        return len(self._scorer.prefix)

    def calibrate(
        self,
        examples: Sequence[Example],
        *,
        most_rows: int = CALIBRATION_ROWS,
        progress: Progress = SILENT,
    ) -> Calibration:
        """Estimate the calibration that this teacher was built with.

        Args:
            examples: For `batch` any texts like those to be labelled; for `fitted` labelled rows.
                Texts that serve as shots are left out, since the prompt tells their label. Of more
                than `most_rows` a sample is taken, the same one in whatever order they come.
            most_rows: The most texts that the model reads for it.
            progress: Where a bar goes.

        Returns:
            The calibration, now in force.

        Raises:
            DataError: Nothing to learn from.
        """
        rows = {
            example.example_id: example
            for example in examples
            if example.example_id not in self._shots
        }
        usable = [rows[key] for key in sorted(rows)]
        if self._method == "fitted":
            usable = [example for example in usable if example.label is not None]
        # In the order of content ids, which are as good as drawn at random.
        usable = usable[:most_rows]
        if self._method in ("batch", "fitted"):
            with progress.bar(
                "Calibrating the teacher", total=len(usable), unit="texts"
            ) as advance:
                logprobs = self._logprobs([example.text for example in usable], advance)
            gold = np.array(
                [example.label for example in usable if example.label is not None], dtype=np.int64
            )
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
                f"calibration: {self._method} has not been estimated; call calibrate(examples) "
                "before label"
            )
        logprobs = self.calibration.apply(self._logprobs([example.text for example in examples]))
        return np.exp(logprobs).astype(np.float32)

    def for_new_texts(self) -> PromptedTeacher:
        """The teacher as it would be deployed: itself."""
        return self

    def label_mass(self, examples: Sequence[Example]) -> np.ndarray:
        """How much of the model's probability falls on any label at all, before calibration,
        float32 [B].

        Below about 0.2 the model is not answering the question that the prompt asks, and its soft
        targets are a guess: change the prompt, show shots, or use its chat template.
        """
        scores = self._scorer.class_scores(
            self.question.rows([example.text for example in examples]), exact=True
        )
        return np.exp(scores).sum(axis=1)

    def _logprobs(
        self, texts: Sequence[str], advance: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        """Class log-probabilities before calibration, float64 [N, C]."""
        if not len(texts):
            return np.zeros((0, len(self.labels)))
        scores = self._scorer.class_scores(self.question.rows(texts), advance=advance)
        return log_softmax(scores.astype(np.float64), axis=1)
