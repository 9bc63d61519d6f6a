"""All documents of a language-model run, read, checked and split: from the paths in a recipe to
tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tutelage.data.documents.notes import ControlAs
from tutelage.data.documents.rendering import Columns, TrainOn
from tutelage.data.documents.tables import DocumentTable, read_document_table
from tutelage.data.documents.tokenizing import LongDocuments
from tutelage.data.limits import USUAL, ReadingLimits
from tutelage.data.rows import short_names
from tutelage.data.splits import members
from tutelage.errors import Problem, RecipeError
from tutelage.types import Document

FEW_TEST_DOCUMENTS = 30
"""Below this an interval over documents says little, which deserves a warning."""


@dataclass(frozen=True, slots=True)
class PreparedDocuments:
    """The documents of a run, ready for the teacher."""

    train: list[Document]
    """What is learned from, each document once."""

    validation: list[Document]
    """What chooses the best student."""

    test: list[Document]
    """What the evaluation reads."""

    warnings: tuple[Problem, ...]
    """What a person should know, though it stops nothing."""

    facts: dict[str, dict[str, Any]]
    """For each part the file, its documents, tokens, trained tokens, and bytes of trained text; for
    the provenance."""


def prepare_documents(
    train: Path,
    tokenizer: Any,
    *,
    test: Path | float,
    validation: Path | float = 0.05,
    text_field: str | None = None,
    prompt_field: str | None = None,
    response_field: str | None = None,
    messages_field: str | None = None,
    sequence_length: int = 512,
    long_documents: LongDocuments = "refuse",
    train_on: TrainOn = "response",
    template_options: Mapping[str, Any] | None = None,
    control_tokens: ControlAs | None = None,
    limits: ReadingLimits = USUAL,
    seed: int = 0,
) -> PreparedDocuments:
    """Read, render, tokenize, check and split the documents of a run.

    Args:
        train: The training file.
        tokenizer: The teacher's, a fast tokenizer of transformers.
        test: A file, or the share of the training rows to set aside.
        validation: The same, for choosing the best student. Shares are all of the whole training
            file.
        text_field: The column of plain text in every file; None, with no other column named either:
            `text`.
        prompt_field: The column of prompts; together with `response_field`.
        response_field: The column of the answers.
        messages_field: The column of conversations, lists of {role, content}.
        sequence_length: The most tokens of a document, at least 2.
        long_documents: What becomes of a longer document: an error, pieces of that length, or its
            beginning.
        train_on: Of prompts with responses and conversations: train what the assistant says, or all
            of it.
        template_options: What else the chat template takes, such as `tools` or `enable_thinking`.
        control_tokens: What becomes of control tokens that are spelled in texts and messages; None:
            they stay text, and a warning counts them.
        limits: How large rows and files may be.
        seed: Chooses the rows that are set aside.

    Returns:
        The parts, with warnings and facts. A document that is in the training file twice is kept
        once.

    Raises:
        RecipeError: The data cannot be used; `problems` holds every reason, each with its file and
            row.
    """
    if (
        text_field is None
        and prompt_field is None
        and response_field is None
        and messages_field is None
    ):
        text_field = "text"
    columns = Columns(text_field, prompt_field, response_field, messages_field)
    names = short_names([train, *[one for one in (validation, test) if isinstance(one, Path)]])
    problems: list[Problem] = []

    def read(path: Path) -> DocumentTable:
        table, found = read_document_table(
            path,
            tokenizer,
            columns,
            sequence_length=sequence_length,
            long_documents=long_documents,
            train_on=train_on,
            template_options=template_options,
            source=names[path],
            control_tokens=control_tokens,
            limits=limits,
        )
        problems.extend(found)
        return table

    whole = read(train)
    aside = {
        "test": read(test) if isinstance(test, Path) else test,
        "validation": read(validation) if isinstance(validation, Path) else validation,
    }
    if all(
        table.documents for table in (whole, *aside.values()) if isinstance(table, DocumentTable)
    ):
        parts, found = _divide(whole, aside, seed=seed)
        problems += found + _leaks_and_small_parts(parts)
    else:
        parts = {}
    if any(problem.severity == "error" for problem in problems) or not parts:
        raise RecipeError(sorted(problems, key=lambda problem: problem.severity != "error"))
    return PreparedDocuments(
        train=parts["train"].documents,
        validation=parts["validation"].documents,
        test=parts["test"].documents,
        warnings=tuple(problems),
        facts={role: _facts(part) for role, part in parts.items()},
    )


def split_documents(
    documents: Sequence[Document], share: float, *, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Set a share of the documents aside.

    Pieces of one row stay together, and so do equal documents. Which are set aside depends on the
    seed and their content, not on the order of the file.

    Args:
        documents: The documents; those with the same `source` and `row` are pieces of one. Row 0 is
            no row.
        share: The share of the rows to set aside, above 0 and below 1.
        seed: Chooses the rows.

    Returns:
        The positions that stay and the positions that are set aside, both ascending; at least one
        row on each side.

    Raises:
        ValueError: The share is not between 0 and 1, or there are not two rows, so one side would
            be empty.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share is {share}; expected a number above 0 and below 1")
    units = _units(documents)
    if len(units) < 2:
        raise ValueError(
            f"too few rows: {len(units)} cannot spare {share:.3g} away; add rows, or name a file "
            "instead of the share"
        )

    def order(unit: Sequence[int]) -> bytes:
        name = min(documents[position].example_id for position in unit)
        return blake2b(name, digest_size=16, key=f"split {seed}".encode()).digest()

    count = min(max(1, round(share * len(units))), len(units) - 1)
    held = {position for unit in sorted(units, key=order)[:count] for position in unit}
    return [position for position in range(len(documents)) if position not in held], sorted(held)


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    documents: list[Document]
    num_long: int | None = None


def _units(documents: Sequence[Document]) -> list[list[int]]:
    """The positions that must stay together."""
    return members(
        [
            (document.example_id, ("row", document.source, document.row))
            if document.row
            else (document.example_id,)
            for document in documents
        ]
    )


def _divide(
    whole: DocumentTable, aside: Mapping[str, DocumentTable | float], *, seed: int
) -> tuple[dict[str, _Part], list[Problem]]:
    """Take test and validation from their files, or set their shares of the training file aside."""
    kept, problems = _each_once(whole)
    parts: dict[str, _Part] = {}
    kept_share = 1.0
    for role, given in aside.items():
        if isinstance(given, DocumentTable):
            parts[role] = _Part(given.source, given.documents, given.num_long)
            continue
        name = f"{whole.source} ({role} share {given:g})"
        try:
            if given >= kept_share:
                raise ValueError(
                    "test and validation together take all rows; lower one of the shares"
                )
            stay, held = split_documents(kept, given / kept_share, seed=seed)
        except ValueError as error:
            problems.append(Problem(name, str(error)))
            stay, held = list(range(len(kept))), []
        parts[role] = _Part(name, [kept[position] for position in held])
        kept, kept_share = [kept[position] for position in stay], kept_share - given
    train = _Part(whole.source, kept, whole.num_long)
    return {"train": train, "validation": parts["validation"], "test": parts["test"]}, problems


def _each_once(whole: DocumentTable) -> tuple[list[Document], list[Problem]]:
    """The documents of the training file, each once: a second copy would weigh twice, or be set
    aside as unseen.
    """
    first: dict[bytes, Document] = {}
    repeated = [one for one in whole.documents if first.setdefault(one.example_id, one) is not one]
    if not repeated:
        return list(first.values()), []
    one = repeated[0]
    documents = "documents are" if len(repeated) > 1 else "document is"
    message = (
        f"{len(repeated):,} {documents} there before, for instance row {one.row} (first in row "
        f"{first[one.example_id].row}); each is kept once"
    )
    return list(first.values()), [Problem(whole.source, message, "warning")]


def _leaks_and_small_parts(parts: Mapping[str, _Part]) -> list[Problem]:
    problems = []
    num_test = len({(document.source, document.row) for document in parts["test"].documents})
    if 0 < num_test < FEW_TEST_DOCUMENTS:
        message = (
            f"intervals over {num_test} test document{'s' * (num_test > 1)} say little; more rows "
            f"say more"
        )
        problems.append(Problem(parts["test"].name, message, "warning"))
    for seen, held in (("train", "validation"), ("train", "test"), ("validation", "test")):
        known = {document.example_id: document for document in parts[seen].documents}
        leaked = [document for document in parts[held].documents if document.example_id in known]
        if leaked:
            one = leaked[0]
            documents = "documents are" if len(leaked) > 1 else "document is"
            message = (
                f"{len(leaked):,} {held} {documents} also in {parts[seen].name}, for instance row "
                f"{one.row} (there row "
                f"{known[one.example_id].row}); the {held} flatters the student: remove them from "
                "one side"
            )
            problems.append(Problem(parts[held].name, message, "warning"))
    return problems


def _facts(part: _Part) -> dict[str, Any]:
    return {
        "file": part.name,
        "rows": len({(document.source, document.row) for document in part.documents}),
        "documents": len(part.documents),
        "long_rows": part.num_long,
        "tokens": sum(len(document.token_ids) for document in part.documents),
        "trained_tokens": sum(document.positions for document in part.documents),
        "bytes": sum(document.num_bytes for document in part.documents),
    }
