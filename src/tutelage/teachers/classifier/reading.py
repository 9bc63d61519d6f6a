"""What a teacher made of each text, kept while a run is at work, so that it reads no text twice.

In: texts, as they are asked for. Out: their features, for fitting a head and for its answers, and
what the teacher made of the words in some of them, for the first embeddings of students. Both are
on disk part by part, each written atomically and named by its content: a kill loses the part in
hand, and a part that was damaged is no part, so its texts are read again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.models.loading import LanguageModel
from tutelage.runs import atomic_write_bytes, fingerprint
from tutelage.teachers.classifier.features import (
    Pooling,
    encode,
    extract_features,
    read_batches,
    require_layers,
)
from tutelage.teachers.classifier.words import Words, WordSums, words_of
from tutelage.types import EXAMPLE_ID_BYTES, SILENT, Progress, example_id

TEXTS_PER_PART, CHARACTERS_PER_PART = 512, 2**17
"""A part is full when it has one or the other: what a kill loses, and what is in memory at once."""
MOST_BYTES = 4 * 2**30
"""Parts are written until they take this much; texts beyond are read all the same."""
_FORMAT = 1
_HEADER = "reading"
_SUFFIX = ".safetensors"


class TextReadings:
    """The texts of a run that its teacher has read.

    Args:
        folder: Where parts lie; made when the first is written.
        contexts: Content ids (`types.example_id`) of texts whose words are kept.
        word_layers: Layers whose states of words are kept; none keeps no words.
        most_bytes: Parts are written until they take this much.
        is_shared: Other processes write there at the same time: what they have not finished is left
            alone, and what they have is found when words are asked for.
    """

    def __init__(
        self,
        folder: Path,
        *,
        contexts: Collection[bytes] = (),
        word_layers: Sequence[int] = (),
        most_bytes: int = MOST_BYTES,
        is_shared: bool = False,
    ) -> None:
        self._folder = folder
        self._contexts = frozenset(contexts)
        self._word_layers = tuple(sorted(set(word_layers)))
        self._most_bytes = most_bytes
        self._bytes = 0
        self._features: dict[str, dict[bytes, tuple[Path, int]]] = {}
        self._words: dict[tuple[str, int], tuple[set[Path], set[bytes]]] = {}
        self._opened = False
        self._is_shared = is_shared
        self._entered: set[Path] = set()

    def features(
        self,
        language_model: LanguageModel,
        texts: Sequence[str],
        *,
        layers: Sequence[int],
        pooling: Sequence[Pooling],
        batch_tokens: int,
        max_length: int,
        progress: Progress = SILENT,
    ) -> np.ndarray:
        """As `extract_features`; what was read before is not read again, what is read is kept."""
        require_layers(language_model, layers, pooling)
        self._open(progress)
        key = _features_key(language_model, layers, pooling, max_length)
        ids = [example_id(text) for text in texts]
        rows_of: dict[bytes, list[int]] = {}
        for row, text_id in enumerate(ids):
            rows_of.setdefault(text_id, []).append(row)
        kept = self._features.get(key, {})
        missing = [rows[0] for text_id, rows in rows_of.items() if text_id not in kept]
        missing.sort(key=lambda row: (-len(texts[row]), ids[row]))
        found = list(self._recall(key, rows_of))
        with progress.bar("Reading texts", total=len(missing), unit="texts") as advance:
            for rows in _parts(missing, texts):
                features, words = self._read(
                    language_model,
                    [texts[row] for row in rows],
                    layers=layers,
                    pooling=pooling,
                    batch_tokens=batch_tokens,
                    max_length=max_length,
                )
                part_ids = [ids[row] for row in rows]
                self._keep(key, _words_key(language_model), part_ids, features, words)
                found.append((part_ids, features))
                advance(len(rows))
        out = np.zeros((len(texts), found[0][1].shape[1] if found else 0), dtype=np.float32)
        found.reverse()
        while found:  # each part is forgotten as soon as it has been copied
            part_ids, features = found.pop()
            for text_id, of_text in zip(part_ids, features, strict=True):
                out[rows_of[text_id]] = of_text
        return out

    def words(
        self, language_model: LanguageModel, texts: Sequence[str], *, layer: int
    ) -> Iterator[Words] | None:
        """What the teacher made of words in the texts that it has read, part by part.

        Args:
            language_model: The teacher's; the words of another are not given.
            texts: Texts that must be among those read.
            layer: Whose states.

        Returns:
            The parts; None where the words of one of the texts have not been kept.
        """
        self._opened = self._opened and not self._is_shared
        self._open(SILENT)
        files, known = self._words.get((_words_key(language_model), layer), (set(), set()))
        if not texts or not known.issuperset(map(example_id, texts)):
            return None
        return (words_of(_arrays(file), layer) for file in sorted(files))

    def _read(
        self, language_model: LanguageModel, texts: Sequence[str], **options: Any
    ) -> tuple[np.ndarray, tuple[list[bytes], WordSums] | None]:
        """Features of the texts of one part, and of those that are contexts the words."""
        max_length = options["max_length"]
        known = [
            self._words.get((_words_key(language_model), layer), (None, frozenset[bytes]()))[1]
            for layer in self._word_layers
        ]
        ids = [example_id(text) for text in texts]
        is_context = np.array(
            [
                text_id in self._contexts and not any(text_id in of_layer for of_layer in known)
                for text_id in ids
            ]
        )
        if not self._word_layers or not is_context.any() or not language_model.tokenizer.is_fast:
            return extract_features(language_model, texts, **options), None
        del options["max_length"]
        contexts, others = (
            np.flatnonzero(is_context).tolist(),
            np.flatnonzero(~is_context).tolist(),
        )
        rows, ends = encode(
            language_model, [texts[n] for n in contexts], max_length=max_length, with_ends=True
        )
        sums = WordSums()
        for n, of_text in zip(contexts, ends, strict=True):
            sums.announce(texts[n], of_text)
        found = []
        for batch, features, states in read_batches(
            language_model, rows, also=self._word_layers, **options
        ):
            found.append(([contexts[n] for n in batch], features))
            sums.add(batch, states)
        if others:
            rest = [texts[n] for n in others]
            features = extract_features(language_model, rest, max_length=max_length, **options)
            found.append((others, features))
        out = np.zeros((len(texts), found[0][1].shape[1]), dtype=np.float32)
        for rows, features in found:
            out[rows] = features
        return out, ([ids[n] for n in contexts], sums)

    def _keep(
        self,
        key: str,
        words_key: str,
        ids: Sequence[bytes],
        features: np.ndarray,
        words: tuple[list[bytes], WordSums] | None,
    ) -> None:
        """Write one part, and remember what is in it."""
        from safetensors.numpy import save

        if self._bytes > self._most_bytes:
            return
        arrays = {"ids": _packed(ids), "features": np.ascontiguousarray(features)}
        if words is not None:
            arrays |= {"words.ids": _packed(words[0]), **words[1].arrays()}
        # One entry: several would come in any order, and the same part have another name.
        header = json.dumps({"features": key, "words": words_key})
        content = save(arrays, {_HEADER: header})
        path = self._folder / f"{_digest(content)}{_SUFFIX}"
        atomic_write_bytes(path, content)
        self._enter(path)

    def _open(self, progress: Progress) -> None:
        """Find the parts of earlier calls; damaged ones are removed."""
        if self._opened:
            return
        self._opened = True
        damaged = 0
        for path in sorted(set(self._folder.glob("*")) - self._entered):
            if path.suffix == _SUFFIX and path.stem == _digest(path.read_bytes()):
                self._enter(path)
            elif not self._is_shared:
                damaged += path.suffix == _SUFFIX
                path.unlink()
        if damaged:
            progress.say(f"{damaged} damaged parts of what the teacher read are read again")

    def _enter(self, path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as part:
            header, names = json.loads(part.metadata()[_HEADER]), set(part.keys())
            of_key = self._features.setdefault(header["features"], {})
            for row, text_id in enumerate(_unpacked(part.get_tensor("ids"))):
                of_key[text_id] = (path, row)
            of_words = _unpacked(part.get_tensor("words.ids")) if "words.ids" in names else []
        for name in names:
            if name.startswith("words.states."):
                place = (header["words"], int(name.rpartition(".")[2]))
                files, known = self._words.setdefault(place, (set(), set()))
                files.add(path)
                known.update(of_words)
        self._bytes += path.stat().st_size
        self._entered.add(path)

    def _recall(self, key: str, ids: Iterable[bytes]) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Features of the texts that are on disk, part by part."""
        from safetensors import safe_open

        kept = self._features.get(key, {})
        wanted: dict[Path, list[tuple[int, bytes]]] = {}
        for text_id in ids:
            if text_id in kept:
                path, place = kept[text_id]
                wanted.setdefault(path, []).append((place, text_id))
        for path, of_part in wanted.items():
            with safe_open(path, framework="numpy") as part:
                features = part.get_tensor("features")
            yield [text_id for _, text_id in of_part], features[[place for place, _ in of_part]]


def read_features(
    language_model: LanguageModel,
    texts: Sequence[str],
    *,
    readings: TextReadings | None,
    **options: Any,
) -> np.ndarray:
    """Features of texts, from what has been read where there is such a thing; arguments are those
    of `extract_features`.
    """
    read = extract_features if readings is None else readings.features
    return read(language_model, texts, **options)


def _parts(rows: Sequence[int], texts: Sequence[str]) -> Iterator[list[int]]:
    part: list[int] = []
    characters = 0
    for row in rows:
        characters += len(texts[row])
        if part and (len(part) == TEXTS_PER_PART or characters > CHARACTERS_PER_PART):
            yield part
            part, characters = [], len(texts[row])
        part.append(row)
    if part:
        yield part


def _features_key(
    language_model: LanguageModel,
    layers: Sequence[int],
    pooling: Sequence[Pooling],
    max_length: int,
) -> str:
    return fingerprint(
        "features", _words_key(language_model), list(layers), list(pooling), max_length
    )


def _words_key(language_model: LanguageModel) -> str:
    return fingerprint("words", _FORMAT, language_model.fingerprint, str(language_model.dtype))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as part:
        names = [name for name in list(part.keys()) if name.startswith("words.")]
        return {name: part.get_tensor(name) for name in names}


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _packed(ids: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(ids), dtype=np.uint8).reshape(-1, EXAMPLE_ID_BYTES)


def _unpacked(ids: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in ids]
