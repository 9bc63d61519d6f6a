"""The static classifier at work: texts in, probabilities out, with numpy and the tokenizer's own
library.

In: the folder that training wrote, `config.json`, `tokenizer.json`, `tokenizer_config.json` and
`model.safetensors`. Out: the answers that the network in `network.py` gives, without torch.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tutelage.errors import ModelError
from tutelage.models.contributions import Contributions, by_word, word_spans
from tutelage.models.folders import require_small
from tutelage.students.classifier.answering import Contribution
from tutelage_runtime.tokens import pair_rows, tokenizer_from, with_pairs

CONFIG, SETTINGS, VOCABULARY, WEIGHTS = (
    "config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors",
)
NORM_EPSILON = np.float32(1e-5)
"""As torch's layer normalisation has it."""
TINY = np.finfo(np.float32).tiny


class StaticClassifier:
    """A classifier at work; see `classifier.answering.Classifier`. Make it with `load`.

    Args:
        tokenizer: V tokens; truncates, and does not pad.
        tensors: As training saved them: `embedding.weight` [V + N, S] and `log_weights` [V + N] of
            V tokens and of N pairs behind them; `pairs` [N], for each its first token times V plus
            its second; `classifier.weight` [C, S] and `classifier.bias`. With a hidden layer of
            width H also `norm.weight` and `norm.bias` [S], `hidden.weight` [H, S] and
            `hidden.bias`, the classifier then being [C, H].
        labels: C class names.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        tensors: Mapping[str, NDArray[np.floating]],
        *,
        labels: Sequence[str],
    ) -> None:
        arrays = {name: one for name, one in tensors.items() if name != "pairs"}
        self.tokenizer, self.labels = tokenizer, list(labels)
        self.parameters = sum(one.size for one in arrays.values())
        self.tokens = len(arrays["log_weights"]) - len(tensors["pairs"])
        self.pairs = pair_rows(tensors["pairs"].tolist(), tokens=self.tokens)
        self.weights = np.exp(arrays["log_weights"])
        self.vectors = arrays["embedding.weight"] * self.weights[:, None]
        self.layers = [
            (np.ascontiguousarray(arrays[f"{name}.weight"].T), arrays[f"{name}.bias"])
            for name in ("hidden", "classifier")
            if f"{name}.weight" in arrays
        ]
        self.norm = None
        if "norm.weight" in arrays:
            self.norm = arrays["norm.weight"], arrays["norm.bias"]
        else:  # then, and only then, it is `Explained`
            self.bias, self.contributions = arrays["classifier.bias"], self._contributions
            self.by_word = self._by_word

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Scores of every class for every text, [N, C]."""
        return self._scores([self.tokenizer.encode(text).ids for text in texts])

    def probs(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Probability of every class for every text.

        Args:
            texts: N texts; of longer ones the first `max_length` tokens are read.
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

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Where each token that is read begins and ends in a text, in characters."""
        return self.tokenizer.encode(text).offsets

    def logits_of_parts(self, text: str, present: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Scores of a text with some of its tokens alone, as if the others were not there.

        Args:
            text: K tokens, see `token_spans`.
            present: Which of them stay, [M, K].

        Returns:
            [M, C]. A row with all tokens gives the scores of the text, one without any those of an
            empty text.
        """
        ids = np.array(self.tokenizer.encode(text).ids, dtype=np.intp)
        return self._scores([ids[row].tolist() for row in np.asarray(present, dtype=bool)])

    def _parts(self, ids: list[int]) -> tuple[list[tuple[int, int]], NDArray[np.float32]]:
        """First and last token of each of P parts of a text, and what it adds to the logits,
        [P, C].
        """
        places = [(place, place) for place in range(len(ids))]
        known = [pair in self.pairs for pair in pairwise(ids)]
        places += [(place, place + 1) for place in range(len(known)) if known[place]]
        rows = self._rows(ids)
        [(weight, _)] = self.layers
        return places, self.vectors[rows] @ weight / max(self.weights[rows].sum(), TINY)

    def _contributions(self, text: str) -> list[Contribution]:
        """What each token and pair of a text adds to the logits, see `Explained`."""
        encoding = self.tokenizer.encode(text)
        spans, words = encoding.offsets, encoding.word_ids
        pieces = Counter(words)
        found = [
            Contribution(
                text[spans[first][0] : spans[last][1]],
                words[first] == words[last] and pieces[words[first]] > 1,
                logits,
            )
            for (first, last), logits in zip(*self._parts(encoding.ids), strict=True)
        ]
        return sorted(found, key=lambda one: -float(np.ptp(one.logits)))

    def _by_word(self, text: str) -> Contributions:
        """What each word of a text adds to the logits, see `Explained`."""
        encoding = self.tokenizer.encode(text)
        tokens = np.zeros((len(encoding.ids), len(self.labels)))
        for (first, last), logits in zip(*self._parts(encoding.ids), strict=True):
            tokens[first] += logits / 2
            tokens[last] += logits / 2
        return Contributions(
            word_spans(text),
            by_word(text, encoding.offsets, tokens),
            self.logits([text])[0].astype(np.float64),
            self.bias.astype(np.float64),
        )

    def _rows(self, ids: list[int]) -> NDArray[np.intp]:
        """The rows of the tokens of a text, then of the pairs among them that are known."""
        return np.array(with_pairs(ids, self.pairs), dtype=np.intp)

    def _scores(self, texts: Sequence[list[int]]) -> NDArray[np.float32]:
        """Scores of texts given as ids of tokens."""
        means = np.empty((len(texts), self.vectors.shape[1]), dtype=np.float32)
        for place, ids in enumerate(texts):
            rows = self._rows(ids)
            total = max(np.add.reduce(self.weights.take(rows)), TINY)
            means[place] = np.add.reduce(self.vectors.take(rows, 0), 0) / total
        if self.norm is not None:
            scale, shift = self.norm
            means -= np.add.reduce(means, 1, keepdims=True) / means.shape[1]
            variances = np.einsum("ns,ns->n", means, means)[:, None] / means.shape[1]
            means /= np.sqrt(variances + NORM_EPSILON)
            means *= scale
            means += shift
        *inner, (weight, bias) = self.layers
        for matrix, offset in inner:
            means = np.maximum(means @ matrix + offset, np.float32(0))
        return np.asarray(means @ weight + bias, dtype=np.float32)

    @classmethod
    def load(cls, folder: Path | str) -> StaticClassifier:
        """A classifier from its folder.

        Raises:
            ModelError: A file is missing, damaged, or does not fit the others.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        folder = Path(folder)
        for name in (CONFIG, SETTINGS, VOCABULARY, WEIGHTS):
            if not (folder / name).is_file():
                raise ModelError(
                    f"{folder} has no {name}: give the folder of a trained student, or train it "
                    "again"
                )
            if name != WEIGHTS:
                require_small(folder / name)
        try:
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            settings = json.loads((folder / SETTINGS).read_text("utf-8"))
            names = config["id2label"]
            labels = [str(names[str(place)]) for place in range(len(names))]
            expected = _shapes(config, classes=len(labels))
            tokenizer = tokenizer_from(
                (folder / VOCABULARY).read_text("utf-8"),
                max_length=int(settings["model_max_length"]),
            )
            tensors = load_file(folder / WEIGHTS)
        except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
            raise ModelError(
                f"{folder} cannot be read as a static student ({type(error).__name__}: {error}): "
                "train it again"
            ) from error
        shapes = {name: one.shape for name, one in sorted(tensors.items())}
        if shapes != expected or not all(np.isfinite(one).all() for one in tensors.values()):
            raise ModelError(
                f"{folder} holds weights of shapes {shapes}; expected finite ones of shapes "
                f"{expected}: train it again"
            )
        tokens, vectors = tokenizer.get_vocab_size(), int(config["vocabulary_size"])
        if tokens > vectors:
            raise ModelError(
                f"{folder} has a tokenizer of {tokens:,} tokens but vectors for {vectors:,}: train "
                "it again"
            )
        return cls(tokenizer, tensors, labels=labels)


def _shapes(config: Mapping[str, Any], *, classes: int) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a student with this `config.json`, in order of their names."""
    tokens, pairs, size, hidden = (
        int(config[key]) for key in ("vocabulary_size", "bigrams", "size", "hidden")
    )
    shapes = {"embedding.weight": (tokens + pairs, size), "log_weights": (tokens + pairs,)}
    shapes["pairs"] = (pairs,)
    if hidden:
        shapes |= {"norm.weight": (size,), "norm.bias": (size,)}
        shapes |= {"hidden.weight": (hidden, size), "hidden.bias": (hidden,)}
    shapes |= {"classifier.weight": (classes, hidden or size), "classifier.bias": (classes,)}
    return dict(sorted(shapes.items()))
