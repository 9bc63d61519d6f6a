"""Stores of soft targets that somebody has changed: verified, looked into, exported, merged, gone on
with, or refused in one line; never a traceback, a hang, or gigabytes of memory.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.hostile.asking import answer, bounded, hostile
from tests.hostile.stores import KINDS, damages, lay_out, mend
from tests.targets import class_targets, token_targets

from tutelage.errors import TutelageError
from tutelage.targets.resuming import open_whole, remove_broken_parts
from tutelage.types import SILENT

WORDS = ("verify", "inspect", "export", "merge", "label")


@st.composite
def stores(draw: st.DrawFn):
    """A kind, whether its parts say what they are, what is changed, whether checksums fit, and what
    is asked.
    """
    kind = draw(st.sampled_from(KINDS))
    return (
        kind,
        draw(st.booleans()),
        draw(damages(kind)),
        draw(st.sampled_from([True, True, True, False])),
        draw(st.sampled_from(WORDS)),
    )


def label_again(store: Path, kind: str) -> None:
    """What `run` does with targets that it finds in its folder: what is broken is written again."""
    some = class_targets if kind == "class_probabilities" else token_targets
    words = () if kind == "class_probabilities" else (kind,)
    with bounded(), suppress(TutelageError):
        open_whole(store, teacher="t1")
        remove_broken_parts(store, SILENT)
        with some.open_writer(store, *words) as writer:
            writer.missing(class_targets.IDS)


@hostile("manifest")
@given(stores())
def test_a_store_that_was_changed_is_answered_in_words_of_our_own(given_store) -> None:
    kind, described, changes, mended, word = given_store
    folder = Path(tempfile.mkdtemp())
    try:
        store = folder / "targets"
        lay_out(store, kind, described=described)
        for damage in changes:
            damage(store)
        if mended:
            mend(store)
        if word == "label":
            label_again(store, kind)
            return
        more = []
        if word == "merge":
            lay_out(folder / "whole", kind, described=described)
            more = [folder / "whole", "--out", folder / "merged"]
        elif word == "export":
            more = ["--out", folder / "rows.jsonl"]
        answer("targets", word, store, *more)
    finally:
        shutil.rmtree(folder)
