"""Answers that a teacher wrote to prompts: which of them are kept, and the files that hold them.

In: answers as they came, and the options of text targets. Out: each answer with the reason why it
is left out, if there is one; a folder of two files, `answers.jsonl` with one answer a line, those
left out included, and `manifest.json` with its checksum and who wrote it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tutelage.errors import TargetsCorrupt, TargetsMismatch
from tutelage.runs.files import atomic_write_bytes, atomic_write_json
from tutelage.targets.kinds import TextOptions
from tutelage.targets.languages import in_another_language
from tutelage.targets.manifest import ANSWERS_FORMAT
from tutelage.targets.manifest import FILE as MANIFEST_FILE

FILE = "answers.jsonl"
VERSION = 1
SHORT, LONG, FOREIGN = "too short", "too long", "in another language"
REPEATED, REPEATED_ANYWHERE = "repeated for its prompt", "given to another prompt"


@dataclass(frozen=True, slots=True)
class WrittenAnswer:
    """What a teacher wrote to a prompt."""

    part: str
    """train, validation or test."""
    prompt: str
    """What was asked."""
    source: str
    """The file that the prompt came from."""
    row: int
    """The 1-based data row in that file."""
    sample: int
    """Which answer to this prompt it is, from 0."""
    text: str
    """The answer; of one that is no answer, nothing."""
    left_out: str | None = None
    """In a few words, why nothing is learned from it; None: it is kept."""
    accepted: float | None = None
    """The probability, from a judge, that it is good enough; None: nobody judged it."""
    messages: Sequence[Mapping[str, Any]] = ()
    """The conversation that it answers, of which `prompt` is the transcript; none: `prompt` is what
    a user says."""


def leave_out(answers: Sequence[WrittenAnswer], options: TextOptions) -> list[WrittenAnswer]:
    """The same answers, those that the options do not let through with the reason.

    Args:
        answers: In any order; of equal ones the first is kept. Those that have a reason keep it
            and are nobody's duplicate.
        options: Bounds, languages, and what becomes of duplicates.

    Example:
        >>> one = WrittenAnswer("train", "Hi", "a.jsonl", 1, 0, "Hello  there")
        >>> [found.left_out for found in leave_out([one, replace(one, text="Hello there")],
        ...                                        TextOptions())]
        [None, 'repeated for its prompt']
    """
    seen: set[tuple[str, ...]] = set()
    found = []
    for answer in answers:
        why = answer.left_out or _not_wanted(answer.text, options)
        if why is None and options.duplicates != "keep":
            words = plain(answer.text)
            for_prompt, for_all = (answer.part, answer.prompt, words), (answer.part, words)
            if for_prompt in seen:
                why = REPEATED
            elif options.duplicates == "anywhere" and for_all in seen:
                why = REPEATED_ANYWHERE
            seen |= {for_prompt, for_all}
        found.append(replace(answer, left_out=why))
    return found


def plain(text: str) -> str:
    """A text with one space wherever there is any, and none at its ends."""
    return " ".join(text.split())


def _not_wanted(text: str, options: TextOptions) -> str | None:
    length = len(text.strip())
    if length < options.shortest:
        return SHORT
    if options.longest is not None and length > options.longest:
        return LONG
    if options.languages is not None and in_another_language(text, options.languages):
        return FOREIGN
    return None


def counted(answers: Sequence[WrittenAnswer]) -> dict[str, dict[str, Any]]:
    """For each part of the data `{"prompts", "asked", "kept", "left_out": {reason: number}}`."""
    parts: dict[str, dict[str, Any]] = {}
    for part in dict.fromkeys(answer.part for answer in answers):
        own = [answer for answer in answers if answer.part == part]
        reasons = Counter(answer.left_out for answer in own if answer.left_out is not None)
        parts[part] = {
            "prompts": len({answer.prompt for answer in own}),
            "asked": len(own),
            "kept": len(own) - reasons.total(),
            "left_out": dict(reasons.most_common()),
        }
    return parts


def write_answers(folder: Path, answers: Sequence[WrittenAnswer], *, teacher: str) -> None:
    """Write the two files; the manifest last, so that one that is there speaks of a whole file.

    Args:
        folder: Made if it is missing.
        answers: All of them.
        teacher: The fingerprint of who wrote them.

    Raises:
        StorageError: The file system refuses.
    """
    lines = "".join(json.dumps(_line(one), ensure_ascii=False) + "\n" for one in answers)
    content = lines.encode("utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(folder / FILE, content)
    told = {
        "format": ANSWERS_FORMAT,
        "version": VERSION,
        "teacher": teacher,
        "sha256": sha256(content).hexdigest(),
        "parts": counted(answers),
    }
    atomic_write_json(folder / MANIFEST_FILE, told)


def read_answers(folder: Path, *, teacher: str | None = None) -> list[WrittenAnswer]:
    """The answers that `write_answers` wrote.

    Args:
        folder: Where.
        teacher: The fingerprint of who must have written them; None: anyone.

    Raises:
        TargetsCorrupt: They are not whole.
        TargetsMismatch: Somebody else wrote them.
    """
    try:
        told = json.loads((folder / MANIFEST_FILE).read_text("utf-8"))
        content = (folder / FILE).read_bytes()
    except (OSError, ValueError) as error:
        raise TargetsCorrupt(f"{folder} holds no whole answers of a teacher ({error})") from None
    if not isinstance(told, dict) or (told.get("format"), told.get("version")) != (
        ANSWERS_FORMAT,
        VERSION,
    ):
        raise TargetsMismatch(f"{folder} holds other targets than answers to prompts")
    if teacher is not None and told.get("teacher") != teacher:
        raise TargetsMismatch(f"{folder} holds answers of another teacher")
    if told.get("sha256") != sha256(content).hexdigest():
        raise TargetsCorrupt(f"{folder / FILE} does not match the checksum in {MANIFEST_FILE}")
    return list(_parsed(content))


def _line(answer: WrittenAnswer) -> dict[str, Any]:
    """What stands in a line of the file; what few answers have only where there is any."""
    told = asdict(answer)
    absent = [key for key in ("accepted", "messages") if told[key] in (None, ())]
    return {key: value for key, value in told.items() if key not in absent}


def _parsed(content: bytes) -> Iterator[WrittenAnswer]:
    for line in content.split(b"\n"):
        if line:
            told = json.loads(line)
            yield WrittenAnswer(**{**told, "messages": tuple(told.get("messages", ()))})
