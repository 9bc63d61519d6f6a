"""The writer of a store: what is missing, when parts are closed, across openings, and what it
refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tests.targets.class_targets import IDS, PROBS, files, open_writer, write

from tutelage.errors import ShapeMismatch, TargetsError, TargetsIncomplete
from tutelage.targets import TargetStore, inspect
from tutelage.types import example_id


def test_missing_counts_equal_ids_once_and_in_order(tmp_path):
    with open_writer(tmp_path / "targets") as writer:
        writer.add(IDS[:3], PROBS[:3])
        assert writer.missing([IDS[5], IDS[0], IDS[4], IDS[5], IDS[2]]) == [0, 2]
        writer.add([IDS[5], IDS[4]], PROBS[[5, 4]])
        assert writer.missing([IDS[5], IDS[0], IDS[4], IDS[5], IDS[2]]) == []
        assert len(writer) == 5


def test_the_first_word_about_a_text_counts(tmp_path):
    path = tmp_path / "targets"
    with open_writer(path) as writer:
        writer.add([IDS[0], IDS[0]], PROBS[[0, 1]])
        writer.add([IDS[0]], PROBS[[2]])
        writer.finish()
    store = TargetStore.open(path)
    assert len(store) == 1
    assert np.array_equal(store.lookup([IDS[0]]), PROBS[[0]])


def test_a_part_is_closed_when_full_or_old(tmp_path):
    seconds = [0.0]
    path = tmp_path / "targets"

    def rows_on_disk() -> int:
        return len(TargetStore.open(path, allow_incomplete=True))

    with open_writer(
        path, rows_per_part=8, seconds_per_part=30, clock=lambda: seconds[0]
    ) as writer:
        writer.add(IDS[:7], PROBS[:7])
        assert rows_on_disk() == 0
        writer.add(IDS[7:10], PROBS[7:10])
        assert rows_on_disk() == 8
        seconds[0] = 29.0
        writer.add(IDS[10:11], PROBS[10:11])
        assert rows_on_disk() == 8
        seconds[0] = 30.0
        writer.add(IDS[11:12], PROBS[11:12])
        assert rows_on_disk() == 12
        writer.add(IDS[12:13], PROBS[12:13])
        writer.flush()
        assert rows_on_disk() == 13
    assert [part.rows for part in TargetStore.open(path, allow_incomplete=True).manifest.parts] == [
        8,
        4,
        1,
    ]


def test_the_caller_may_reuse_its_array(tmp_path):
    path, batch = tmp_path / "targets", PROBS[:2].copy()
    with open_writer(path) as writer:
        writer.add(IDS[:2], batch)
        batch[:] = 0
        writer.finish()
    assert np.array_equal(TargetStore.open(path).lookup(IDS[:2]), PROBS[:2])


def test_an_exception_keeps_what_was_added(tmp_path):
    path = tmp_path / "targets"

    def interrupted() -> None:
        with open_writer(path) as writer:
            writer.add(IDS[:3], PROBS[:3])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(TargetStore.open(path, allow_incomplete=True)) == 3


def test_reopening_a_finished_store_changes_nothing_until_a_row_comes(tmp_path):
    path = write(tmp_path / "targets")
    before = files(path)
    with open_writer(path) as writer:
        assert writer.missing(IDS) == []
        writer.add(IDS, PROBS)
        writer.finish()
    assert files(path) == before
    extra = example_id("one more")
    with open_writer(path) as writer:
        assert writer.missing([*IDS, extra]) == [50]
        writer.add([extra], PROBS[:1])
        writer.flush()
        with pytest.raises(TargetsIncomplete):
            TargetStore.open(path)
        writer.finish()
    assert np.array_equal(
        TargetStore.open(path).lookup([extra, *IDS]), np.concatenate([PROBS[:1], PROBS])
    )


def test_finish_refuses_while_expected_rows_lack(tmp_path):
    path = tmp_path / "targets"
    with open_writer(path) as writer:
        writer.missing(IDS)
        writer.add(IDS[:8], PROBS[:8])
        with pytest.raises(
            TargetsIncomplete,
            match=r"holds 8 of 50 expected rows. Add those that missing\(\) names",
        ):
            writer.finish()
    with pytest.raises(
        TargetsIncomplete,
        match=r"holds 8 of 50 rows: labelling has not finished. Go on where it was",
    ):
        TargetStore.open(path)
    with open_writer(path) as writer:  # the recipe may ask for fewer rows the next time
        assert writer.missing(IDS[:5]) == []
        writer.finish()
    assert TargetStore.open(path).manifest.expected_rows == 8


def test_an_empty_store_can_be_finished(tmp_path):
    path = tmp_path / "targets"
    with open_writer(path) as writer:
        writer.finish()
    assert len(TargetStore.open(path)) == 0
    assert IDS[0] not in TargetStore.open(path)
    assert inspect(path)["mean_entropy_nats"] is None
    assert inspect(path)["bytes_per_position"] is None


def test_only_one_process_writes(tmp_path):
    path = tmp_path / "targets"
    with open_writer(path) as writer:
        writer.add(IDS[:1], PROBS[:1])
        with pytest.raises(TargetsError, match=r"is being written by process \d+"):
            open_writer(path)
    write(path)
    assert ".lock" not in files(path)


@pytest.mark.parametrize(
    ("probs", "error", "message"),
    [
        (
            [[0.5, 0.5, 0.5]],
            ValueError,
            r"1 of 1 rows are no distributions, the first for id [0-9a-f]{32}: .* sums to 1.5",
        ),
        ([[1.5, -0.5, 0.0]], ValueError, "expected values of at least 0 that sum to 1"),
        ([[np.nan, 0.5, 0.5]], ValueError, "no distributions.*sums to nan"),
        ([[np.inf, 0.0, 0.0]], ValueError, "no distributions"),
        ([[-1.0, -2.0, -3.0]], ValueError, "give probabilities, not logits or log-probabilities"),
        ([[0.5, 0.4998, 0.0]], ValueError, "sums to 0.9998"),
        (
            [[0.5, 0.5]],
            ShapeMismatch,
            r"shape \(1, 2\) were given for 1 ids and 3 labels; expected \(1, 3\)",
        ),
        ([[1, 0, 0], [1, 0, 0]], ShapeMismatch, r"shape \(2, 3\) were given for 1 ids"),
    ],
)
def test_what_is_no_distribution_is_refused(tmp_path, probs, error, message):
    with open_writer(tmp_path / "targets") as writer:
        with pytest.raises(error, match=message):
            writer.add(IDS[:1], np.array(probs))
        assert len(writer) == 0


def test_rows_within_the_tolerance_are_taken(tmp_path):
    write(tmp_path / "targets", IDS[:1], np.array([[0.5, 0.49995, 0.0]]))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (b"short", ValueError, "the id 73686f7274 of 5 bytes was given; expected 16"),
        (
            "0" * 16,
            TypeError,
            r"of type str was given; expected the bytes of tutelage.types.example_id\(text\)",
        ),
    ],
)
def test_what_is_no_id_is_refused(tmp_path, name, error, message):
    with open_writer(tmp_path / "targets") as writer:
        for call in (lambda: writer.add([name], PROBS[:1]), lambda: writer.missing([name])):
            with pytest.raises(error, match=message):
                call()
        writer.finish()
    store = TargetStore.open(tmp_path / "targets")
    for call in (lambda: store.lookup([name]), lambda: name in store):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kind": "logits"},
            "targets of kind 'logits' were asked for; this version knows class_probabilities, "
            "hidden",
        ),
        (
            {"labels": ["a"]},
            r"labels \[a\] were given; expected at least two names, all different",
        ),
        ({"labels": ["a", "b", "a"]}, "all different"),
        ({"rows_per_part": 0}, "rows_per_part=0 was given; expected at least 1"),
        ({"bytes_per_part": 0}, "bytes_per_part=0 was given; expected at least 1"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_made(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        open_writer(tmp_path / "targets", **settings)
    assert not (tmp_path / "targets").exists()
