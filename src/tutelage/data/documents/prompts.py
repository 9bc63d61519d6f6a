"""Prompts that a teacher shall answer: read, split, and made into documents together with answers.

In: the files of a recipe, of which a response is not asked. Out: the prompts of every part; the
documents of those rows that have a response; later the documents of prompts with the teacher's
answers, rendered and tokenized as rows with responses are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tutelage.data.documents.chat import has_chat_template, render_prompt
from tutelage.data.documents.control_tokens import ControlTokens
from tutelage.data.documents.messages import (
    Message,
    messages_problem,
    transcript,
    with_joined_parts,
)
from tutelage.data.documents.notes import ControlAs, Notes
from tutelage.data.documents.preparation import FEW_TEST_DOCUMENTS, PreparedDocuments
from tutelage.data.documents.rendering import (
    Columns,
    Renderer,
    TrainOn,
    without_nulls_of_parquet,
)
from tutelage.data.documents.tables import can_hold_messages, document_of, read_document_table
from tutelage.data.documents.tokenizing import LongDocuments, Trainable, tokenize
from tutelage.data.formats import read_rows
from tutelage.data.limits import USUAL, ReadingLimits
from tutelage.data.rows import Problems, Rows, check_columns, short_names, text_usable
from tutelage.errors import Problem, RecipeError
from tutelage.types import Document

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, and where it stands."""

    text: str
    """What is asked; of a conversation its transcript."""
    source: str
    """The file."""
    row: int
    """The 1-based data row in it."""
    messages: tuple[Message, ...] = ()
    """The conversation that is to be gone on with; none: the text is what a user says."""


@dataclass(frozen=True, slots=True)
class PreparedPrompts:
    """What a teacher shall answer, and what the data itself answers."""

    train: list[Prompt]
    """Each prompt once."""
    validation: list[Prompt]
    test: list[Prompt]
    documents: PreparedDocuments
    """Of the rows that have a response; parts may be empty. Its facts count prompts too."""


def prepare_prompts(
    train: Path,
    tokenizer: Any,
    *,
    test: Path | float,
    prompt_field: str | None = None,
    validation: Path | float = 0.05,
    response_field: str | None = None,
    messages_field: str | None = None,
    sequence_length: int = 512,
    long_documents: LongDocuments = "refuse",
    train_on: TrainOn = "response",
    control_tokens: ControlAs | None = None,
    limits: ReadingLimits = USUAL,
    seed: int = 0,
) -> PreparedPrompts:
    """Read the prompts of a run, and the documents of rows that have a response.

    Args:
        train: The training file.
        tokenizer: Whose tokens students read, a fast tokenizer of transformers.
        test: A file, or the share of the training prompts to set aside.
        prompt_field: The column of prompts in every file; None: `messages_field` names it.
        validation: The same for choosing the best student. Shares are all of the whole file.
        response_field: The column of responses; a file may lack it, but not all of them.
        messages_field: The column of conversations in every file. The last message is the response
            if it is the assistant's; what comes before is the prompt.
        sequence_length: The most tokens of a document.
        long_documents: What becomes of a longer row, see `read_document_table`.
        train_on: What of a row trains.
        control_tokens: What becomes of control tokens that texts spell.
        limits: How large rows and files may be.
        seed: Chooses the prompts that are set aside; equal ones stay together.

    Raises:
        RecipeError: The data cannot be used; every problem at once.
    """
    given = {"train": train, "validation": validation, "test": test}
    names = short_names([path for path in given.values() if isinstance(path, Path)])
    problems: list[Problem] = []
    prompts: dict[str, list[Prompt]] = {}
    documents: list[Document] = []
    any_response = False
    columns = (
        Columns(messages=messages_field, last_answer=True)
        if messages_field is not None
        else Columns(prompt=prompt_field, response=response_field or "")
    )
    for part, path in given.items():
        if not isinstance(path, Path):
            continue
        source = names[path]
        found, has_response = (
            _read_conversations(path, messages_field, tokenizer, source, limits, problems)
            if messages_field is not None
            else _read_prompts(path, str(prompt_field), response_field, source, limits, problems)
        )
        prompts[part] = _each_once(found, problems)
        if not has_response:
            continue
        any_response = True
        table, said = read_document_table(
            path,
            tokenizer,
            columns,
            sequence_length=sequence_length,
            long_documents=long_documents,
            train_on=train_on,
            source=source,
            control_tokens=control_tokens,
            limits=limits,
        )
        documents += table.documents
        # Of a prompt that cannot be used has been told.
        problems += [problem for problem in said if problem not in problems]
    if response_field is not None and not any_response and not problems:
        message = (
            f"no file has the column `{response_field}`: name the column of responses in "
            "data.response_field, or leave it out"
        )
        problems.append(Problem(names[train], message))
    if all(prompts.values()):
        problems += _set_aside(prompts, given, seed=seed, name=names[train])
        problems += _leaks_and_small_parts(prompts)
    if any(problem.severity == "error" for problem in problems) or not all(prompts.values()):
        raise RecipeError(problems or [Problem(names[train], "no prompt is left; add rows")])
    by_row = {}
    for document in documents:
        by_row.setdefault((document.source, document.row), []).append(document)
    parts = {
        part: [
            one for prompt in prompts[part] for one in by_row.get((prompt.source, prompt.row), ())
        ]
        for part in PARTS
    }
    files = {
        part: names[path] if isinstance(path, Path) else f"{names[train]} ({part} share {path:g})"
        for part, path in given.items()
    }
    facts = {part: _facts(files[part], prompts[part], parts[part]) for part in PARTS}
    prepared = PreparedDocuments(**parts, warnings=tuple(problems), facts=facts)
    return PreparedPrompts(**{part: prompts[part] for part in PARTS}, documents=prepared)


def _read_prompts(
    path: Path,
    prompt_field: str,
    response_field: str | None,
    source: str,
    limits: ReadingLimits,
    problems: list[Problem],
) -> tuple[list[Prompt], bool]:
    """The usable prompts of a file, and whether it has the column of responses."""
    own = Problems(source)
    fields = [prompt_field] if response_field is None else [prompt_field, response_field]
    rows = read_rows(path, own, fields=fields, limits=limits)
    found = []
    if rows.columns and check_columns(rows, [prompt_field], own, keys="prompt_field"):
        for number, values in rows.values:
            cell = values.get(prompt_field)
            if text_usable(cell, number, prompt_field, own):
                found.append(Prompt(cell, source, number))
    problems += own.listed()
    if not found and not own.listed():
        problems.append(Problem(source, "there is no prompt in it; add rows"))
    return found, response_field is not None and rows.columns.count(response_field) == 1


def _read_conversations(
    path: Path,
    field: str,
    tokenizer: Any,
    source: str,
    limits: ReadingLimits,
    problems: list[Problem],
) -> tuple[list[Prompt], bool]:
    """The conversations of a file that can be gone on with, up to an answer of the assistant's at
    their end, and whether one has such an answer.
    """
    own = Problems(source)
    rows = read_rows(path, own, fields=[field], limits=limits)
    if path.suffix.lower() == ".parquet":
        rows = without_nulls_of_parquet(rows, field)
    found, has_response = [], False
    usable = rows.columns and check_columns(rows, [field], own, keys="messages_field")
    if usable and can_hold_messages(path, field, tokenizer, own):
        for number, values in rows.values:
            cell: Any = values.get(field)
            if wrong := messages_problem(cell):
                own.add("that hold no conversation", number, f"`{field}` {wrong}")
                continue
            messages = with_joined_parts(cell)
            answered = messages[-1]["role"] == "assistant"
            asked = tuple(messages[:-1] if answered else messages)
            if not asked or asked[-1]["role"] == "assistant":
                message = (
                    f"`{field}` ends with messages of the assistant and nothing that asks for the "
                    "last one; end it with a message of the user, or with one answer to it"
                )
                own.add("without a prompt", number, message)
                continue
            has_response |= answered
            found.append(Prompt(transcript(asked), source, number, asked))
    problems += own.listed()
    if not found and not own.listed():
        problems.append(Problem(source, "there is no prompt in it; add rows"))
    return found, has_response


def _each_once(prompts: Sequence[Prompt], problems: list[Problem]) -> list[Prompt]:
    """Each prompt once: it is asked once, however often it stands there."""
    first: dict[str, Prompt] = {}
    again = [one for one in prompts if first.setdefault(one.text, one) is not one]
    if again:
        one = again[0]
        message = (
            f"{len(again):,} prompt{'s stand' if len(again) > 1 else ' stands'} there before, for "
            f"instance row {one.row} (first in row {first[one.text].row}); each is asked once"
        )
        problems.append(Problem(one.source, message, "warning"))
    return list(first.values())


def _set_aside(
    prompts: dict[str, list[Prompt]], given: dict[str, Path | float], *, seed: int, name: str
) -> list[Problem]:
    """Take the shares of validation and test out of the training prompts."""

    def order(prompt: Prompt) -> bytes:
        key = f"split {seed}".encode()
        return blake2b(prompt.text.encode("utf-8"), digest_size=16, key=key).digest()

    left = sorted(prompts["train"], key=order)
    whole = len(left)
    for part in ("test", "validation"):
        share = given[part]
        if isinstance(share, Path):
            continue
        count = max(1, round(share * whole))
        if count >= len(left):
            message = (
                f"{whole:,} prompts cannot spare the {part} share {share:g}: add rows, lower it, "
                "or name a file instead"
            )
            return [Problem(name, message)]
        prompts[part], left = left[:count], left[count:]
    kept = {prompt.text for prompt in left}
    prompts["train"] = [prompt for prompt in prompts["train"] if prompt.text in kept]
    return []


def _leaks_and_small_parts(prompts: dict[str, list[Prompt]]) -> list[Problem]:
    found = []
    if len(tests := prompts.get("test", [])) < FEW_TEST_DOCUMENTS and tests:
        message = (
            f"intervals over {len(tests)} test prompt{'s' * (len(tests) > 1)} say little; more "
            "rows say more"
        )
        found.append(Problem(tests[0].source, message, "warning"))
    for seen, held in (("train", "validation"), ("train", "test"), ("validation", "test")):
        known = {prompt.text: prompt.row for prompt in prompts.get(seen, ())}
        leaked = [prompt for prompt in prompts.get(held, ()) if prompt.text in known]
        if leaked:
            one = leaked[0]
            message = (
                f"{len(leaked):,} prompts of {held} are also in {seen}, for instance row "
                f"{one.row} (there row {known[one.text]}); the {held} flatters the student: remove "
                "them from one side"
            )
            found.append(Problem(one.source, message, "warning"))
    return found


def _facts(file: str, prompts: Sequence[Prompt], documents: Sequence[Document]) -> dict[str, Any]:
    return {
        "file": file,
        "rows": len(prompts),
        "documents": len(documents),
        "long_rows": None,
        "tokens": sum(len(document.token_ids) for document in documents),
        "trained_tokens": sum(document.positions for document in documents),
        "bytes": sum(document.num_bytes for document in documents),
    }


def prompt_text(
    tokenizer: Any,
    prompt: str,
    *,
    system: str | None = None,
    control: ControlTokens | None = None,
    messages: Sequence[Message] = (),
) -> Trainable:
    """A prompt as documents of a prompt with its response begin: rendered as what a user says
    where the tokenizer has a chat template, else as it is.

    Args:
        tokenizer: Of transformers.
        prompt: What is asked.
        system: A message of the system before it; without a template, a text before it.
        control: The tokenizer's control tokens, which stay text where the prompt spells them; None:
            they are read as the tokens.
        messages: The conversation that the prompt is the transcript of, for a tokenizer with a chat
            template; none: the prompt is what a user says.

    Raises:
        DataError: The template refuses it.
    """
    if has_chat_template(tokenizer):
        before = [] if system is None else [{"role": "system", "content": system}]
        turns = [*before, *(messages or [{"role": "user", "content": prompt}])]
        rendered = render_prompt(tokenizer, turns, control=control)
        return Trainable(rendered.text, literal=rendered.literal)
    whole = prompt if system is None else f"{system}\n\n{prompt}"
    return Trainable(whole, literal=() if control is None else control.spelled(whole))


def prompt_ids(tokenizer: Any, text: Trainable, *, is_rendered: bool) -> list[int]:
    """The tokens of a prompt; of plain text after the token with which documents begin.

    Args:
        tokenizer: Of transformers.
        text: From `prompt_text`, or the beginning of a plain text.
        is_rendered: Whether a chat template made it, which writes all control tokens itself.
    """
    ids = next(tokenize(tokenizer, [text])).ids.tolist()
    first = tokenizer.bos_token_id
    first = tokenizer.eos_token_id if first is None else first
    return ids if first is None or is_rendered else [first, *ids]


def answer_documents(
    tokenizer: Any,
    answers: Sequence[tuple[Prompt, str]],
    *,
    sequence_length: int,
    train_on: TrainOn = "response",
    control_tokens: ControlAs | None = None,
) -> list[Document | str]:
    """Prompts with answers as documents, each just as a row with that response would be.

    Args:
        tokenizer: Whose tokens students read.
        answers: Prompts with a text each that is not blank.
        sequence_length: The most tokens of a document.
        train_on: What of them trains.
        control_tokens: What becomes of control tokens that they spell.

    Returns:
        For each its document, or in a few words why there is none.
    """
    if any(prompt.messages for prompt, _ in answers):
        columns = Columns(messages="messages", last_answer=True)
        values = [
            {"messages": [*prompt.messages, {"role": "assistant", "content": said}]}
            for prompt, said in answers
        ]
    else:
        columns = Columns(prompt="prompt", response="response")
        values = [{"prompt": prompt.text, "response": said} for prompt, said in answers]
    rows = Rows(columns.names, list(enumerate(values)))
    renderer = Renderer(tokenizer, Notes(ControlTokens(tokenizer), control_tokens), train_on)
    rendered = renderer.rows(rows, columns, Problems("answers"))
    found: list[Document | str] = ["the chat template refuses it"] * len(answers)
    for (at, _), tokens in zip(
        rendered, tokenize(tokenizer, [text for _, text in rendered]), strict=True
    ):
        prompt = answers[at][0]
        if len(tokens.ids) > sequence_length:
            found[at] = "more tokens than task.sequence_length"
        elif tokens.trained.any():
            found[at] = document_of(tokens, prompt.source, prompt.row)
    return found
