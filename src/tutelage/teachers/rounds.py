"""A teacher over a part of the texts, chosen as its answers come: some are labelled, a quick
student is fitted to them, and it says which are worth asking about next.

In: a teacher, rows that judge and are all labelled, and rows to learn from, of which a limited
number is. Out: a complete `TargetStore` of exactly the rows that were asked about and answered, and
an account of the rounds. Choices follow from the seed and the answers alone, so that whoever was
killed goes on with the same ones.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import TargetsError
from tutelage.metrics import agreements, paired_bootstrap, share_interval
from tutelage.runs import seed_sequence
from tutelage.targets import TargetStore, TargetWriter
from tutelage.teachers.choosing import LabelChoice, choose_rows
from tutelage.teachers.labelling import label
from tutelage.teachers.quick_student import QuickStudent
from tutelage.teachers.sharing import Workers
from tutelage.teachers.teacher import AnswersAsTheyCome, ClassProbabilities
from tutelage.types import SILENT, Example, Progress

SMALL_GAIN = 0.05
"""The share of the distance to the teacher that what is left must be able to take away."""
_KIND = "class_probabilities"


def label_chosen(
    teacher: ClassProbabilities,
    pool: Sequence[Example],
    *,
    judged: Sequence[Example],
    validation: Sequence[Example],
    choice: LabelChoice,
    out: Path,
    answered: Sequence[Path] = (),
    workers: Workers | None = None,
    progress: Progress = SILENT,
) -> tuple[TargetStore, dict[str, Any]]:
    """Let a teacher write soft targets for some of the rows that are learned from.

    Args:
        teacher: Any teacher.
        pool: Rows to learn from, repeated texts allowed; those that judge do not count.
        judged: Rows that are labelled whatever happens.
        validation: Those of them by which the quick student is judged.
        choice: How many are asked about, and which.
        out: Folder of the store.
        answered: Other stores of the same teacher, whose answers are taken over; what cannot be
            used is passed over.
        workers: Who shares the texts of each round, as in `label`.
        progress: Where bars and talk go.

    Returns:
        The store, and `{"choose", "limit", "texts", "asked", "answered", "rounds",
        "stopped_early"}`: texts there are to learn from, and of each round `{"asked",
        "agreement", "distance", "left_at_most"}` so far: on validation rows the share on which the
        quick student answers as the teacher, as an interval, and the mean squared distance of their
        probabilities; and see `left_at_most`. None is what is not known.

    Raises:
        As `label`.
    """
    always = {example.example_id: example for example in judged}
    texts = {one.example_id: one for one in pool if one.example_id not in always}
    names = sorted(texts)
    rows = [texts[name] for name in names]
    limit = min(choice.limit, len(rows))
    sight = _Sight(rows, validation, seed=choice.seed)
    asked, probs = np.zeros(len(rows), dtype=bool), None
    rounds: list[dict[str, Any]] = []
    before: NDArray[np.float64] | None = None
    store, stopped, known = None, False, 0
    for number in range(1, choice.rounds + 1):
        count = limit * number // choice.rounds - int(asked.sum())
        if count < 1:
            continue
        asked[
            choose_rows(
                sight.vectors,
                probs,
                asked,
                count=count,
                choose=choice.choose,
                seed=seed_sequence(choice.seed, "labelling", number),
            )
        ] = True
        chosen = [rows[place] for place in np.flatnonzero(asked)]
        store = _ask(teacher, [*judged, *chosen], out, answered, workers, progress)
        probs, told, errors = sight.look(asked, store)
        had, known = known, _answered(store, chosen)
        so_far = int(asked.sum())
        most = (
            None
            if errors is None or before is None
            else left_at_most(before, errors, sizes=(so_far - count, so_far), limit=limit)
        )
        before = errors
        rounds.append({"asked": so_far, **told, "left_at_most": most})
        progress.say(_sentence(rounds[-1], number, choice.rounds, limit, len(rows)))
        if so_far < limit:
            spent = known == had
            stopped = choice.stop_early and most is not None and most < SMALL_GAIN
            if spent:
                progress.say("The last round brought no answer, so no other is asked for")
            if stopped:
                progress.say(_stop_sentence(limit - so_far, most or 0.0))
            if spent or stopped:
                break
    if store is None:  # every text to learn from is also one that judges
        store = _ask(teacher, judged, out, answered, workers, progress)
    progress.say(
        f"Asked about {int(asked.sum()):,} of {len(rows):,} texts to learn from (choose: "
        f"{choice.choose}, {len(rounds)} of {choice.rounds} rounds), {known:,} of them answered"
    )
    store = _only(store, {*always, *(names[place] for place in np.flatnonzero(asked))})
    return store, {
        "choose": choice.choose,
        "limit": choice.limit,
        "texts": len(rows),
        "asked": int(asked.sum()),
        "answered": known,
        "rounds": rounds,
        "stopped_early": stopped,
    }


def left_at_most(
    before: NDArray[np.float64], after: NDArray[np.float64], *, sizes: tuple[int, int], limit: int
) -> float:
    """The largest share of its distance to the teacher that a quick student may still lose.

    Learning curves are close to power laws of the number of texts: the upper end of the 95 %
    interval of what the last round gained is a steepness, and with it the curve goes on to the
    limit.

    Args:
        before: Squared distances on the rows that judge, [M], before the last round.
        after: The same after it.
        sizes: Texts asked about before and after it.
        limit: How many there may be.

    Returns:
        From 0, where it gained nothing, to 1.

    Source: Hestness et al. 2017 (arXiv:1712.00409), for the form of the curve.
    """
    was = float(before.mean())
    gained = paired_bootstrap(before, after).high
    if gained <= 0 or was <= 0:
        return 0.0
    if gained >= was or sizes[0] < 1:
        return 1.0
    steepness = math.log(was / (was - gained)) / math.log(sizes[1] / sizes[0])
    return 1.0 - (sizes[1] / limit) ** steepness


class _Sight:
    """What is seen of the texts: vectors, and a quick student's answers."""

    def __init__(
        self, rows: Sequence[Example], validation: Sequence[Example], *, seed: int
    ) -> None:
        self._names = [one.example_id for one in rows]
        self._judging = [one.example_id for one in validation]
        self._student = QuickStudent([one.text for one in rows], [one.text for one in validation])
        self.vectors = self._student.vectors(seed=seed)

    def look(
        self, asked: NDArray[np.bool_], store: TargetStore
    ) -> tuple[NDArray[np.float64] | None, dict[str, Any], NDArray[np.float64] | None]:
        """What it says of the pool, how well it answers, and its squared distances to the teacher
        on the rows that judge; None where there is nothing to learn from or to judge by.
        """
        nothing = {"agreement": None, "distance": None}
        there = asked & store.holds(self._names)
        places = np.flatnonzero(there)
        if not len(places):
            return None, nothing, None
        targets = store.lookup([self._names[place] for place in places])
        probs, said = self._student.fit(places, targets)
        known = store.holds(self._judging) if self._judging else np.zeros(0, dtype=bool)
        if said is None or not known.any():
            return probs, nothing, None
        judges = [name for name, holds in zip(self._judging, known, strict=True) if holds]
        taught, said = np.asarray(store.lookup(judges), dtype=np.float64), said[known]
        errors = ((taught - said) ** 2).sum(axis=1)
        agreed = share_interval(agreements(taught, said)).as_dict()
        return probs, {"agreement": agreed, "distance": float(errors.mean())}, errors


def _ask(
    teacher: ClassProbabilities,
    examples: Sequence[Example],
    out: Path,
    answered: Sequence[Path],
    workers: Workers | None,
    progress: Progress,
) -> TargetStore:
    """The answers about all of these; who is asked as answers come keeps them elsewhere, and tells
    of all of them in one account.
    """
    if isinstance(teacher, AnswersAsTheyCome):
        shutil.rmtree(out, ignore_errors=True)
    else:
        _take_over(teacher, [one.example_id for one in examples], out, answered)
    return label(teacher, examples, out=out, workers=workers, progress=progress)


def _answered(store: TargetStore, rows: Sequence[Example]) -> int:
    return int(store.holds([one.example_id for one in rows]).sum())


def _take_over(
    teacher: ClassProbabilities, ids: Sequence[bytes], out: Path, answered: Sequence[Path]
) -> None:
    """Answers that lie in other stores of the teacher."""
    identity: dict[str, Any] = {"teacher": teacher.fingerprint, "labels": teacher.labels}
    if not answered:
        return
    with TargetWriter.open(out, kind=_KIND, **identity) as writer:
        before = len(writer)
        for place in answered:
            missing = [ids[row] for row in writer.missing(ids)]
            try:
                store = TargetStore.open(place, allow_incomplete=True, **identity)
                there = [missing[int(row)] for row in np.flatnonzero(store.holds(missing))]
                values = store.lookup(there) if there else None
            except (TargetsError, OSError):
                continue
            if values is not None:
                writer.add(there, values)
        if len(writer) > before:  # batches of texts that are asked about are none of theirs
            writer.give_up(len(writer.missing(ids)))
            writer.finish()


def _only(store: TargetStore, wanted: set[bytes]) -> TargetStore:
    """The store without rows that an earlier choice left in it."""
    kept = [name for name in store.ids if name in wanted]
    if len(kept) == len(store):
        return store
    place, manifest = store.path, store.manifest
    beside = place.with_name(f"{place.name}.chosen")
    shutil.rmtree(beside, ignore_errors=True)
    identity: dict[str, Any] = {"teacher": manifest.teacher, "labels": manifest.labels}
    with TargetWriter.open(beside, kind=_KIND, seed=manifest.seed, **identity) as writer:
        writer.add(kept, store.lookup(kept))
        writer.finish()
    shutil.rmtree(place)
    beside.replace(place)
    return TargetStore.open(place, **identity)


def _sentence(told: dict[str, Any], number: int, rounds: int, limit: int, texts: int) -> str:
    said = (
        f"Round {number} of {rounds}: {told['asked']:,} of at most {limit:,} texts asked about, of "
        f"{texts:,}"
    )
    agreed = told["agreement"]
    if agreed is None:
        return said
    return (
        f"{said}; a quick student answers as the teacher on {agreed['value']:.1%} "
        f"[{agreed['low']:.1%}, {agreed['high']:.1%}] of the validation rows"
    )


def _stop_sentence(left: int, most: float) -> str:
    return (
        f"Stopped early: {left:,} texts more would bring the quick student at most {most:.1%} "
        "nearer to the teacher. To ask about them, set label.stop_early: false"
    )
