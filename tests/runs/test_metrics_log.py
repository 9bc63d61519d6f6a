"""metrics.jsonl: a killed and resumed run writes the bytes of one that was not killed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.runs import MetricsLog

RECORDS = [
    {"step": step, "epoch": step / 4, "train_loss": 1 / (step + 1), "note": "é\u2028 ✓"}
    for step in range(6)
]


def write(log: MetricsLog, records) -> MetricsLog:
    for record in records:
        log.append(record)
    return log


def test_records_come_back_in_order(tmp_path):
    log = write(MetricsLog(tmp_path / "deep" / "metrics.jsonl"), RECORDS)
    assert MetricsLog.read(log.path) == RECORDS
    assert log.path.read_bytes().count(b"\n") == 6
    assert MetricsLog.read(tmp_path / "none.jsonl") == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 80))
def test_killed_and_resumed_is_the_same_file(tmp_path_factory, checkpoint, cut):
    folder = tmp_path_factory.mktemp("log")
    whole = write(MetricsLog(folder / "whole.jsonl"), RECORDS).path.read_bytes()
    killed = MetricsLog(folder / "killed.jsonl")
    after_checkpoint = len(
        write(MetricsLog(folder / "part.jsonl"), RECORDS[: checkpoint + 1]).path.read_bytes()
    )
    killed.path.write_bytes(
        whole[: min(after_checkpoint + cut, len(whole))]
    )  # a kill anywhere after the checkpoint
    killed.truncate_after(checkpoint)
    write(killed, RECORDS[checkpoint + 1 :])
    assert killed.path.read_bytes() == whole


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 600))
def test_a_line_cut_short_spoils_no_other(tmp_path_factory, length):
    log = write(MetricsLog(tmp_path_factory.mktemp("log") / "metrics.jsonl"), RECORDS)
    content = log.path.read_bytes()[:length]
    log.path.write_bytes(content)
    whole = content.count(b"\n") + (
        content.endswith(b"}")
    )  # a line that lacks only its end is whole
    log.append({"step": 9})
    assert MetricsLog.read(log.path) == [*RECORDS[:whole], {"step": 9}]


def test_nothing_to_truncate(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.truncate_after(3)
    assert not log.path.exists()
    write(log, RECORDS).truncate_after(-1)
    assert log.path.read_bytes() == b""


def test_what_json_does_not_know_is_refused(tmp_path):
    log = write(MetricsLog(tmp_path / "metrics.jsonl"), RECORDS[:1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.append({"step": 1, "train_loss": float("nan")})
    assert MetricsLog.read(log.path) == RECORDS[:1]
