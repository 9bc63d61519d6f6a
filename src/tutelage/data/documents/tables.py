"""A data file as documents for a language model: rendered, tokenized, every row checked, every
problem collected.

Comes in: a path, a tokenizer, and the names of columns. Goes out: a `DocumentTable`, and the
problems of all rows at once. A document is plain text, a prompt with its response, or a
conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.data.documents.chat import changes_daily, has_chat_template
from tutelage.data.documents.control_tokens import ControlTokens
from tutelage.data.documents.notes import ControlAs, Notes
from tutelage.data.documents.rendering import Columns, Renderer, TrainOn, without_nulls_of_parquet
from tutelage.data.documents.tokenizing import LongDocuments, Tokens, cut, tokenize
from tutelage.data.formats import read_rows
from tutelage.data.limits import USUAL, ReadingLimits
from tutelage.data.rows import ROWS_SHOWN, Problems, check_columns
from tutelage.errors import DataError, Problem
from tutelage.types import Document


@dataclass(frozen=True, slots=True)
class DocumentTable:
    """The usable documents of one data file."""

    source: str
    """The name of the file in messages."""

    documents: list[Document]
    """Each with something to learn, in the order of the file; several of one row where long ones
    were split."""

    num_rows: int
    """All data rows of the file, those with a problem included."""

    num_long: int
    """Rows with more tokens than fit, which were split or truncated."""


def read_document_table(
    path: Path | str,
    tokenizer: Any,
    columns: Columns,
    *,
    sequence_length: int,
    long_documents: LongDocuments = "refuse",
    train_on: TrainOn = "response",
    template_options: Mapping[str, Any] | None = None,
    source: str | None = None,
    control_tokens: ControlAs | None = None,
    limits: ReadingLimits = USUAL,
) -> tuple[DocumentTable, list[Problem]]:
    """Read a csv, tsv, jsonl or parquet file as documents and check every row.

    Plain text stands between the tokenizer's begin-of-text token (its end-of-text token if it has
    no other) and its end-of-text token; all but the first token trains. A prompt with its response
    is rendered as two messages by the tokenizer's chat template; without a template the response
    follows the prompt immediately, between the same two tokens as plain text. Conversations need a
    template.

    Args:
        path: The file; its ending says the format. Lists of messages need jsonl or parquet.
        tokenizer: The teacher's, a fast tokenizer of transformers.
        columns: Which columns hold what.
        sequence_length: The most tokens of a document, at least 2.
        long_documents: What becomes of a longer one: a problem, pieces of that length, or its
            beginning.
        train_on: Of prompts with responses and conversations: train what the assistant says, or all
            of it.
        template_options: What else the chat template takes, such as `tools` or `enable_thinking`.
        source: The name of the file in messages; None: its name without folders.
        control_tokens: What becomes of control tokens that are spelled in texts and messages; None:
            they stay text, and a warning counts them.
        limits: How large rows and the file may be.

    Returns:
        The documents that can be used, and the problems of all other rows (5 of each kind by row,
        then their count). Those of severity `warning` only tell what was left out.
    """
    path = Path(path)
    problems = Problems(source or path.name)
    rows = read_rows(path, problems, fields=columns.names, limits=limits)
    keys = "text_field, prompt_field, response_field or messages_field"
    usable = bool(rows.columns) and check_columns(rows, columns.names, problems, keys=keys)
    if usable and columns.messages is not None:
        usable = can_hold_messages(path, columns.messages, tokenizer, problems)
        rows = (
            without_nulls_of_parquet(rows, columns.messages)
            if path.suffix.lower() == ".parquet"
            else rows
        )
    notes = Notes(ControlTokens(tokenizer), control_tokens)
    renderer = Renderer(tokenizer, notes, train_on, template_options or {})
    rendered = renderer.rows(rows, columns, problems) if usable else []
    documents: list[Document] = []
    long: list[tuple[int, int]] = []
    empty: list[int] = []
    for (number, _), tokens in zip(
        rendered, tokenize(tokenizer, [text for _, text in rendered]), strict=True
    ):
        if tokens.num_control:
            notes.made.append((number, tokens.num_control))
        if len(tokens.ids) > sequence_length:
            long.append((number, len(tokens.ids)))
        pieces = cut(tokens, sequence_length, long_documents=long_documents)
        learned = [piece for piece in pieces if piece.trained.any()]
        documents += [document_of(piece, problems.source, number) for piece in learned]
        empty += [] if learned else [number]
    if long and long_documents == "refuse":
        problems.add_file(_too_long(long, len(rendered), sequence_length))
    notes.warn(problems)
    found = problems.listed() + _nothing_to_learn(empty, problems.source, sequence_length)
    if rendered and columns.text is None and changes_daily(tokenizer):
        message = (
            "the chat template writes today's date into every document; tomorrow they are others, "
            "for which no targets "
            "are stored: finish today, or give the teacher a template without the date"
        )
        found.append(Problem(problems.source, message, "warning"))
    if usable and not documents and not any(problem.severity == "error" for problem in found):
        found.append(
            Problem(problems.source, "no row is left that has something to learn; add rows")
        )
    return DocumentTable(problems.source, documents, len(rows.values), len(long)), found


def read_documents(
    path: Path | str,
    tokenizer: Any,
    *,
    sequence_length: int,
    text_field: str | None = None,
    prompt_field: str | None = None,
    response_field: str | None = None,
    messages_field: str | None = None,
    long_documents: LongDocuments = "refuse",
    train_on: TrainOn = "response",
    template_options: Mapping[str, Any] | None = None,
) -> list[Document]:
    """Read a data file as documents, all rows of which must be usable.

    Args:
        path: A csv, tsv, jsonl or parquet file.
        tokenizer: The teacher's, a fast tokenizer of transformers.
        sequence_length: The most tokens of a document, at least 2.
        text_field: The column of plain text; None, with no other column named either: `text`.
        prompt_field: The column of prompts; together with `response_field`.
        response_field: The column of the answers.
        messages_field: The column of conversations, lists of {role, content}.
        long_documents: What becomes of a longer document: a problem, pieces of that length, or its
            beginning.
        train_on: Of prompts with responses and conversations: train what the assistant says, or all
            of it.
        template_options: What else the chat template takes, such as `tools` or `enable_thinking`.

    Returns:
        The documents, in the order of the file. See `read_document_table` for how a row becomes
        tokens.

    Raises:
        DataError: Any row, or the file itself, cannot be used; the message holds every problem with
            its row.
        ValueError: The columns name no way, or several ways, to read a row.
    """
    if (
        text_field is None
        and prompt_field is None
        and response_field is None
        and messages_field is None
    ):
        text_field = "text"
    table, problems = read_document_table(
        path,
        tokenizer,
        Columns(text_field, prompt_field, response_field, messages_field),
        sequence_length=sequence_length,
        long_documents=long_documents,
        train_on=train_on,
        template_options=template_options,
    )
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise DataError("; ".join(str(problem) for problem in errors))
    return table.documents


def can_hold_messages(path: Path, field: str, tokenizer: Any, problems: Problems) -> bool:
    """Whether conversations can stand in a file, and a tokenizer can render them; if not, why.

    Args:
        path: The file; its ending says the format.
        field: The column of conversations.
        tokenizer: Of transformers.
        problems: Takes what is wrong.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        problems.add_file(
            f"`{field}` cannot be a list of messages in a {path.suffix} file; expected jsonl or "
            "parquet"
        )
        return False
    if not has_chat_template(tokenizer):
        problems.add_file(
            "the tokenizer has no chat template, so conversations cannot be rendered; choose a "
            "teacher that was "
            "trained on conversations (often named Instruct or Chat), or use prompt_field with "
            "response_field"
        )
        return False
    return True


def document_of(tokens: Tokens, source: str, row: int) -> Document:
    """A text of a row, tokenized, as a document."""
    num_bytes = int(tokens.num_bytes[tokens.trained].sum())
    return Document(tokens.ids, tokens.trained, source=source, row=row, num_bytes=num_bytes)


def _too_long(long: Sequence[tuple[int, int]], num_rows: int, sequence_length: int) -> str:
    longest = max(length for _, length in long)
    rows = ("rows " if len(long) > 1 else "row ") + ", ".join(
        str(number) for number, _ in long[:ROWS_SHOWN]
    )
    more = f" and {len(long) - ROWS_SHOWN:,} more" if len(long) > ROWS_SHOWN else ""
    have = "have" if len(long) > 1 else "has"
    return (
        f"{len(long):,} of {num_rows:,} documents {have} more than {sequence_length:,} tokens, the "
        f"longest {longest:,} "
        f"({rows}{more}); set task.long_documents to split or truncate, or raise "
        "task.sequence_length"
    )


def _nothing_to_learn(rows: Sequence[int], source: str, sequence_length: int) -> list[Problem]:
    """Rows whose response begins behind the last token that fits, or whose text is a single
    token.
    """
    if not rows:
        return []
    named = ", ".join(str(number) for number in rows[:ROWS_SHOWN])
    more = f" and {len(rows) - ROWS_SHOWN:,} more" if len(rows) > ROWS_SHOWN else ""
    message = (
        f"nothing of row{'s' if len(rows) > 1 else ''} {named}{more} trains within "
        f"{sequence_length:,} tokens; left out"
    )
    return [Problem(source, message, "warning")]
