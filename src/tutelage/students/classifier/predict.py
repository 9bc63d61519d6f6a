"""Answers of a saved student.

In: a folder and texts. Out: probabilities. Students of some shapes take the short way: the same
arithmetic without what modules put around it, see `fast_rnn`, `fast_transformer` and
`fast_encoder`. All others run their `forward`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import ModernBertForSequenceClassification

from tutelage.errors import ModelError
from tutelage.models.computing import one_thread, require_embeddings
from tutelage.models.contributions import Contributions
from tutelage.models.facts import context_tokens
from tutelage.models.folders import check_model_folder
from tutelage.models.loading import require_runs
from tutelage.models.pretrained import from_pretrained
from tutelage.students.classifier.answering import reader_of
from tutelage.students.classifier.fast_encoder import FastEncoder, has_known_encoder
from tutelage.students.classifier.fast_rnn import FastRecurrent
from tutelage.students.classifier.fast_transformer import FastTransformer, has_known_shape
from tutelage.students.classifier.rnn import RecurrentForSequenceClassification
from tutelage_runtime.tokens import tokenizer_from

LONGEST = 512
FEW_MULTIPLICATIONS = 1 << 24
"""Up to here one thread is faster than handing parts of the work to others, and much faster on a
busy machine."""


class Predictor:
    """A loaded student, ready to answer; make it with `Predictor.load` or from a model and its
    tokenizer.

    Args:
        model: A sequence classifier; put into evaluation mode. Once it has answered its weights
            must stay as they are: the short way keeps products of them.
        tokenizer: Its tokenizer; a copy of its state is taken, truncating at its
            `model_max_length`.

    Example:
        >>> Predictor.load("runs/reviews/students/gru").probs(["Great fun."])  # doctest: +SKIP
        array([[0.01, 0.07, 0.92]], dtype=float32)
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval()
        self.labels: list[str] = [
            model.config.id2label[index] for index in sorted(model.config.id2label)
        ]
        longest = context_tokens(model.config) or LONGEST
        self.max_length = min(tokenizer.model_max_length, max(longest, 1))
        self._pad_id: int = tokenizer.pad_token_id or 0
        self._vocabulary: int | None = getattr(model.config.get_text_config(), "vocab_size", None)
        self._tokenizer = tokenizer
        self._backend: Tokenizer | None = None
        if getattr(tokenizer, "is_fast", False):
            self._backend = tokenizer_from(
                tokenizer.backend_tokenizer.to_str(), max_length=self.max_length
            )

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
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise ModelError(
                f"{folder} has no config.json: give the folder of a trained student, or train it "
                "first"
            )
        if reader_of(folder) is not None:
            raise ModelError(
                f"{folder} holds a student that answers without torch: load it with "
                "tutelage.students.load_classifier"
            )
        check_model_folder(folder)
        model = from_pretrained("sequence", str(folder), folder)
        tokenizer = from_pretrained("tokenizer", str(folder), folder)
        require_runs(model.eval(), tokenizer, name=str(folder))
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
            return self._one(ids[0])
        result = np.empty((len(ids), len(self.labels)), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            result[rows] = self._batch([ids[row] for row in rows])
        return result

    @property
    def integrated(self) -> Callable[[str], Contributions] | None:
        """Integrated gradients of a text; None where there are none, see `has_gradients`."""
        from tutelage.models.gradients import has_gradients

        return self._integrated if has_gradients(self.model, self._tokenizer) else None

    @cached_property
    def _blank(self) -> Tensor:
        from tutelage.models.gradients import blank_vector

        return blank_vector(self.model, self._tokenizer)

    def _integrated(self, text: str) -> Contributions:
        from tutelage.models.gradients import integrated_gradients

        assert self._backend is not None
        found = self._backend.encode(text)
        ids = found.ids or [self._pad_id]
        places = found.offsets or [(0, 0)]
        return integrated_gradients(self.model, ids, places, text, blank=self._blank)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if self._backend is None:
            ids = self._tokenizer(
                list(texts),
                truncation=True,
                max_length=self.max_length,
                split_special_tokens=True,
            )["input_ids"]
        else:
            ids = [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts))]
        require_embeddings(
            ids, self._vocabulary, tokenizer=self._tokenizer, name=self.model.config.model_type
        )
        return ids

    @cached_property
    def _recurrent(self) -> FastRecurrent | None:
        """The short way of one text of a recurrent student."""
        known = type(self.model) is RecurrentForSequenceClassification and _is_plain(self.model)
        return FastRecurrent(self.model) if known else None

    @cached_property
    def _logits(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Logits of ids [B, T] and their mask, the short way if there is one."""
        model = self.model
        if (
            type(model) is ModernBertForSequenceClassification
            and _is_plain(model)
            and has_known_shape(model)
        ):
            return FastTransformer(model)
        if _is_plain(model) and has_known_encoder(model):
            return FastEncoder(model)
        return lambda ids, mask: (
            model(input_ids=ids, **({} if mask is None else {"attention_mask": mask.long()})).logits
        )

    def _one(self, ids: list[int]) -> np.ndarray:
        """Probabilities of one text, [1, C]."""
        if self._recurrent is not None:
            return torch.from_numpy(self._recurrent(ids)).softmax(-1).numpy()[None]
        if (
            isinstance(self._logits, (FastEncoder, FastTransformer))
            and len(ids) * self._logits.num_weights <= FEW_MULTIPLICATIONS
        ):
            with one_thread():
                return self._batch([ids])
        return self._batch([ids])

    def _batch(self, ids: Sequence[list[int]]) -> np.ndarray:
        """Probabilities of texts that fit into one batch; no mask where no text is padded."""
        longest, device = max(1, max(map(len, ids))), next(self.model.parameters()).device
        inputs = torch.tensor(
            [row + [self._pad_id] * (longest - len(row)) for row in ids], device=device
        )
        mask = None
        if any(len(row) != longest for row in ids):
            lengths = torch.tensor([len(row) for row in ids], device=device)
            mask = torch.arange(longest, device=device) < lengths[:, None]
        with torch.inference_mode():
            return self._logits(inputs, mask).float().softmax(-1).cpu().numpy()


def _is_plain(model: Any) -> bool:
    """True if all weights are float32 on the CPU."""
    return all(
        weight.dtype == torch.float32 and weight.device.type == "cpu"
        for weight in model.parameters()
    )
