"""Stores of soft targets that somebody has changed: verified, looked into, exported, merged, or
refused in one line; never a traceback, a hang, or gigabytes of memory.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from tests.hostile.asking import answer, hostile
from tests.hostile.stores import KINDS, damages, lay_out, mend

WORDS = ("verify", "inspect", "export", "merge")


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
        more = []
        if word == "merge":
            lay_out(folder / "whole", kind, described=described)
            more = [folder / "whole", "--out", folder / "merged"]
        elif word == "export":
            more = ["--out", folder / "rows.jsonl"]
        answer("targets", word, store, *more)
    finally:
        shutil.rmtree(folder)
