"""A teacher of the faulty server, for tests and for processes that tests kill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols.making import AskingOptions, protocol_named
from tutelage.teachers.api.server import Endpoint
from tutelage.teachers.api.teacher import ApiTeacher
from tutelage.teachers.api.work import Policy
from tutelage.types import Example

LABELS = ("bad", "good", "mixed")


def teacher_of(
    base_url: str,
    journal: Path,
    *,
    concurrency: int = 16,
    retries: int = 8,
    key_variable: str | None = None,
    timeout_seconds: float = 20.0,
    **policy: Any,
) -> ApiTeacher:
    return ApiTeacher(
        protocol_named("decisions", Question(LABELS), model="served-1", options=AskingOptions()),
        LABELS,
        model="served-1",
        fingerprint="served",
        endpoint=Endpoint(
            base_url=base_url,
            key_variable=key_variable,
            concurrency=concurrency,
            timeout_seconds=timeout_seconds,
            retries=retries,
        ),
        policy=Policy(**policy),
        journal=journal,
    )


def examples(count: int) -> list[Example]:
    return [Example(f"text {number}", source="texts.csv", row=number) for number in range(count)]


if __name__ == "__main__":
    url, folder, number = sys.argv[1:]
    teacher_of(url, Path(folder), concurrency=8, bad_answer_retries=9).label(examples(int(number)))
