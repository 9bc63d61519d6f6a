"""Answers of a saved student.

In: a folder and texts. Out: probabilities. One text takes the short way: no batch object, no padding, no mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from tutelage.errors import ModelError
from tutelage.students.quiet import no_progress_bars

LONGEST = 512


class Predictor:
    """A loaded student, ready to answer; make it with `Predictor.load` or from a model and its tokenizer.

    Args:
        model: A sequence classifier; put into evaluation mode.
        tokenizer: Its tokenizer; a copy of its state is taken, truncating at its `model_max_length`.

    Example:
        >>> Predictor.load("runs/reviews/students/gru").probs(["Great fun."])  # doctest: +SKIP
        array([[0.01, 0.07, 0.92]], dtype=float32)
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.labels: list[str] = [model.config.id2label[index] for index in sorted(model.config.id2label)]
        longest = getattr(model.config, "max_position_embeddings", None) or LONGEST
        self.max_length = min(tokenizer.model_max_length, max(longest, 1))
        self._pad_id: int = tokenizer.pad_token_id or 0
        self._tokenizer = tokenizer
        self._backend: Tokenizer | None = None
        if getattr(tokenizer, "is_fast", False):
            self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
            self._backend.no_padding()
            self._backend.enable_truncation(self.max_length)

    @classmethod
    def load(cls, folder: Path | str) -> Predictor:
        """A student from its folder.

        Args:
            folder: In the `save_pretrained` layout, recurrent or transformer.

        Returns:
            The predictor, on the CPU.

        Raises:
            ModelError: The folder holds no finished model, or transformers cannot load it.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} has no config.json: give the folder of a trained student, or train it first")
        try:
            with no_progress_bars():
                model = AutoModelForSequenceClassification.from_pretrained(folder)
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder} cannot be loaded by transformers ({error}): train the student again") from error
        return cls(model, tokenizer)

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def probs(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """Probability of every class for every text.

        Texts are sorted by length inside, so the order given costs nothing and padding is rare.

        Args:
            texts: N texts; longer ones are truncated at `max_length` tokens.
            batch_size: Texts at a time.

        Returns:
            float32 [N, C] in the order of the texts and of `labels`; rows sum to 1.
        """
        ids = self._encode(texts)
        if len(ids) == 1:
            return self._batch(ids)
        result = np.empty((len(ids), len(self.labels)), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            result[rows] = self._batch([ids[row] for row in rows])
        return result

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if self._backend is None:
            return self._tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]
        if len(texts) == 1:
            return [self._backend.encode(texts[0]).ids]
        return [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts))]

    def _batch(self, ids: Sequence[list[int]]) -> np.ndarray:
        """Probabilities of texts that fit into one batch; no mask where no text is padded."""
        longest = max(1, max(map(len, ids)))
        inputs = torch.tensor([row + [self._pad_id] * (longest - len(row)) for row in ids])
        mask = None
        if any(len(row) != longest for row in ids):
            mask = torch.arange(longest) < torch.tensor([len(row) for row in ids])[:, None]
        with torch.inference_mode():
            if mask is None:
                logits = self.model(input_ids=inputs).logits
            else:
                logits = self.model(input_ids=inputs, attention_mask=mask.long()).logits
            return logits.float().softmax(-1).numpy()
