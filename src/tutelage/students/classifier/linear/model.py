"""The linear classifier: texts in, probabilities out, and the sum that each of them comes from.

logits = bias + (weights of all n-grams of the text) / sqrt(words of the text)

A folder of one holds `config.json`, `ngrams.json` and `model.safetensors`. Reading and answering
need numpy and no torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.models.contributions import Contributions, by_word, word_spans
from tutelage.models.folders import require_small
from tutelage.runs import atomic_write_json, atomic_write_text, replacing
from tutelage.students.classifier.answering import Contribution
from tutelage.students.classifier.linear.ngrams import UNKNOWN, NGrams

MODEL_TYPE = "tutelage_linear"
ARCHITECTURE = "LinearForSequenceClassification"
CONFIG, VOCABULARY, WEIGHTS = "config.json", "ngrams.json", "model.safetensors"
WORDS_REMEMBERED = 1 << 14
"""Of whose n-grams the sum of weights is kept for the next text; the first that come."""
_READING = ("longest_words", "longest_characters", "max_length", "lowercase")


class LinearClassifier:
    """A classifier at work; see `classifier.answering.Classifier`.

    Args:
        ngrams: V n-grams, the unknown word among them.
        weights: `[V, C]`, kept as float32; that of the unknown word is 0.
        bias: `[C]`, the logits of a text without a known n-gram.
        labels: C class names.
        facts: What else stands in `config.json`, for people: how it was fitted.
    """

    def __init__(
        self,
        ngrams: NGrams,
        weights: NDArray[np.floating],
        bias: NDArray[np.floating],
        *,
        labels: Sequence[str],
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.ngrams, self.labels, self.facts = ngrams, list(labels), dict(facts or {})
        self._sums = _WordSums(ngrams, weights)
        self.weights = self._sums.table[: len(ngrams)]
        self.bias = np.asarray(bias, dtype=np.float32)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return (len(self.ngrams) - 1) * len(self.labels) + len(self.labels)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of every class for every text, [N, C]."""
        result = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for row, text in enumerate(texts):
            words = self.ngrams.split(text)
            found = self._sums.rows(words)
            total = np.add.reduce(self._sums.table.take(found, 0), 0) if found else 0.0
            result[row] = total / sqrt(len(words) or 1)
        result += self.bias
        return result

    def probs(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Probability of every class for every text.

        Args:
            texts: N texts; of longer ones the first `max_length` words are read.
            batch_size: As other students have it; texts are read one by one.

        Returns:
            float32 [N, C] in the order of the texts and of `labels`; rows sum to 1.
        """
        del batch_size
        logits = self.logits(texts)
        logits -= np.maximum.reduce(logits, axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= np.add.reduce(logits, axis=1, keepdims=True)
        return logits

    def contributions(self, text: str) -> list[Contribution]:
        """What each n-gram of a text adds to the logits of the classes, see `Explained`."""
        counts = Counter(self.ngrams.ids(text))
        counts.pop(UNKNOWN, None)
        found, often = list(counts), np.array([*counts.values()], dtype=np.float32)
        parts = self.weights[found] * often[:, None] / sqrt(len(self.ngrams.split(text)) or 1)
        order = np.argsort(-np.ptp(parts, axis=1), kind="stable")
        characters = 1 + len(self.ngrams.words)
        return [
            Contribution(self.ngrams.gram(found[place]), found[place] >= characters, parts[place])
            for place in order
        ]

    def by_word(self, text: str) -> Contributions:
        """What each word of a text adds to the logits, see `Explained`."""
        ngrams = self.ngrams
        words = ngrams.split(text)
        parts = np.zeros((len(words), len(self.labels)))
        for place, word in enumerate(words):
            parts[place] += self.weights[ngrams.ids_of(word)].sum(axis=0)
            for length in range(2, min(ngrams.longest_words, len(words) - place) + 1):
                if (found := ngrams.id_of(words[place : place + length])) is not None:
                    parts[place : place + length] += self.weights[found] / length
        return Contributions(
            word_spans(text),
            by_word(text, ngrams.places(text), parts / sqrt(len(words) or 1)),
            self.logits([text])[0].astype(np.float64),
            self.bias.astype(np.float64),
        )

    def strongest(self, most: int) -> dict[str, list[tuple[str, float]]]:
        """The words that speak most for each class, with all n-grams inside them, and the n-grams
        of several words, see `Readable`; before the division by the root of a text's words.
        """
        ngrams, first = self.ngrams, 1 + len(self.ngrams.words)
        grams, sums = ngrams.words, self.weights[1:first].copy()
        for place, gram in enumerate(grams):
            if " " not in gram:
                sums[place] = self.weights[ngrams.ids_of(gram)].sum(axis=0)
        if not grams:
            grams, sums = ngrams.characters, self.weights[first:]
        pushes = sums - sums.mean(axis=1, keepdims=True)
        return {
            label: [
                (grams[place], float(pushes[place, column]))
                for place in np.argsort(-pushes[:, column], kind="stable")[:most]
                if pushes[place, column] > 0
            ]
            for column, label in enumerate(self.labels)
        }

    def save(self, folder: Path | str) -> Path:
        """Write its three files, `config.json` last; other files of the folder are left alone.

        A folder with `config.json` holds a whole model, one without is refused by whoever loads it.
        """
        from safetensors.numpy import save_file

        folder = Path(folder)
        (folder / CONFIG).unlink(missing_ok=True)
        vocabulary = {"words": self.ngrams.words, "characters": self.ngrams.characters}
        # Without indentation, which would be a quarter of the folder.
        dense = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))
        atomic_write_text(folder / VOCABULARY, dense)
        with replacing(folder / WEIGHTS) as beside:
            save_file({"weights": self.weights[1:], "bias": self.bias}, beside)
        names = dict(enumerate(self.labels))
        config = {
            "model_type": MODEL_TYPE,
            "architectures": [ARCHITECTURE],
            "id2label": {str(place): label for place, label in names.items()},
            "label2id": {label: place for place, label in names.items()},
            **{key: getattr(self.ngrams, key) for key in _READING},
            **self.facts,
        }
        atomic_write_json(folder / CONFIG, config)
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> LinearClassifier:
        """A classifier from its folder.

        Raises:
            ModelError: A file is missing, damaged, or does not fit the others.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        for name in (CONFIG, VOCABULARY, WEIGHTS):
            if not (folder / name).is_file():
                raise ModelError(
                    f"{folder} has no {name}: give the folder of a trained student, or train it "
                    "again"
                )
            if name != WEIGHTS:
                require_small(folder / name)
        try:
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            vocabulary = json.loads((folder / VOCABULARY).read_text("utf-8"))
            tensors = load_file(folder / WEIGHTS)
            grams = [[str(gram) for gram in vocabulary[key]] for key in ("words", "characters")]
            labels = [str(config["id2label"][str(place)]) for place in range(len(tensors["bias"]))]
            reading = {key: int(config[key]) for key in _READING}
            ngrams = NGrams(*grams, **(reading | {"lowercase": bool(reading["lowercase"])}))
            weights, bias = tensors["weights"], tensors["bias"]
        except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise ModelError(
                f"{folder} cannot be read as a linear student ({type(error).__name__}: {error}): "
                "train it again"
            ) from error
        expected = (len(ngrams) - 1, len(config["id2label"]))
        if weights.shape != expected or not (
            np.isfinite(weights).all() and np.isfinite(bias).all()
        ):
            raise ModelError(
                f"{folder} holds weights of shape {weights.shape}; expected finite ones of shape "
                f"{expected}, for each n-gram and each class: train it again"
            )
        return cls(ngrams, np.pad(weights, ((1, 0), (0, 0))), bias, labels=labels)


class _WordSums:
    """Weights, and below them for each word that came before the sum of those of its n-grams."""

    def __init__(self, ngrams: NGrams, weights: NDArray[np.floating]) -> None:
        self._ngrams = ngrams
        rows = len(ngrams) + WORDS_REMEMBERED
        self.table = np.empty((rows, weights.shape[1]), dtype=np.float32)
        self.table[: len(ngrams)] = weights
        self._row_of: dict[str, int] = {}
        self._adding = Lock()

    def rows(self, words: list[str]) -> list[int]:
        """The rows whose sum is that of the weights of all n-grams of a text."""
        found, known = self._ngrams.ids_across(words), self._row_of
        for word in words:
            if word in known:
                found.append(known[word])
            else:
                found += self._added(word)
        return found

    def _added(self, word: str) -> list[int]:
        """The row that a new word gets; its n-grams where there is no more room (the same sum but
        for rounding).
        """
        ids = self._ngrams.ids_of(word)
        with self._adding:
            row = len(self._ngrams) + len(self._row_of)
            if word in self._row_of:  # meanwhile
                return [self._row_of[word]]
            if row < len(self.table):
                self.table[row] = self.table[ids].sum(axis=0)
                self._row_of[word] = row  # last: whoever reads it meanwhile finds the whole sum
                return [row]
        return ids
