"""The estimate, and the refusal of what would not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.errors import NotEnoughDisk, NotEnoughMemory
from tutelage.runs import RunFolder
from tutelage.tasks.estimates import (
    describe_bytes,
    describe_effort,
    matrix_product_rate,
    require_disk,
    require_memory,
    still_to_write,
)


def test_what_does_not_fit_with_a_margin_is_refused() -> None:
    require_disk({"disk_bytes": 1_000_000_000, "free_disk_bytes": 1_300_000_000})
    with pytest.raises(
        NotEnoughDisk,
        match=r"about 1\.20 GB would be written but 1\.10 GB are free\. Free some space",
    ):
        require_disk({"disk_bytes": 1_000_000_000, "free_disk_bytes": 1_100_000_000})
    with pytest.raises(NotEnoughDisk, match=r"about 2\.40 kB would be written but 0 bytes are"):
        require_disk({"disk_bytes": 2000, "free_disk_bytes": 0})


def test_what_the_machine_cannot_hold_is_refused() -> None:
    require_memory({"least_memory_bytes": 5, "total_memory_bytes": 5})
    with pytest.raises(NotEnoughMemory, match=r"at least 7\.50 MB of memory .* has 5 bytes"):
        require_memory({"least_memory_bytes": 7_500_000, "total_memory_bytes": 5})


def test_what_is_written_need_not_fit_again_and_what_is_no_longer_asked_for_frees_nothing(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path)
    for name, size in (("targets", 700), ("students/one/checkpoints", 200), ("controls/one", 5)):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "part").write_bytes(bytes(size))
    stages = {"targets": "now", "students/one": "now"}
    estimate = {"disk_bytes": 1000, "free_disk_bytes": 9}
    assert still_to_write(estimate, folder, stages) == {"disk_bytes": 100, "free_disk_bytes": 9}
    folder.stage("targets").mark_done("now", seconds=1.0)
    assert still_to_write(estimate, folder, stages)["disk_bytes"] == 100
    folder.stage("targets").mark_done("of other rows", seconds=1.0)
    assert still_to_write(estimate, folder, stages)["disk_bytes"] == 800
    assert still_to_write({"disk_bytes": 100}, folder, stages)["disk_bytes"] == 0
    assert still_to_write(estimate, RunFolder(tmp_path / "none"), stages)["disk_bytes"] == 1000


def test_the_rate_is_that_of_a_machine_of_this_world() -> None:
    assert 1e8 < matrix_product_rate(size=256) < 1e15


def test_sizes_are_told_in_the_unit_that_fits() -> None:
    sizes = (0, 999, 1000, 12_345, 4_560_000, 987_600_000, 1.2e9, 3.21e15)
    assert [describe_bytes(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1.00 kB", "12.3 kB", "4.56 MB", "988 MB", "1.20 GB", "3,210 TB",
    ]  # fmt: skip


def test_a_price_is_told_only_where_there_is_one() -> None:
    estimate = {"teacher_tokens": 12_000, "teacher_seconds": 120.0}
    assert describe_effort(estimate) == "about 12,000 tokens, about 2 min"
    assert describe_effort({**estimate, "teacher_dollars": 3.5}).endswith("about 2 min, 3.50 $")
