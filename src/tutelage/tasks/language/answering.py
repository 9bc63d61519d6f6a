"""What a teacher answers to prompts, and the documents that students learn of it.

In: prompts, and a teacher that writes. Out: the folder of answers, each kept or left out with its
reason; documents of those that are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from tutelage.data import PreparedDocuments
from tutelage.data.documents.prompts import PARTS, PreparedPrompts, Prompt, answer_documents
from tutelage.errors import ModelError
from tutelage.targets.kinds import TextOptions
from tutelage.targets.text import WrittenAnswer, counted, leave_out, write_answers
from tutelage.tasks.language.accepting import judged
from tutelage.tasks.language.data import text_options
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.teachers.api.protocol import BadAnswer
from tutelage.teachers.writing import Ask, WritesText
from tutelage.types import SILENT, Document, Progress

NOT_ASKED = "over budget"
REASONS = {
    "truncated": "cut off at max_new_tokens",
    "refused": "declined by the teacher",
    "empty": "empty",
    "rejected": "request rejected by the server",
    NOT_ASKED: "not asked: the budget was spent",
}
"""Why an answer is none, in the words of `answers.jsonl` and the report; other reasons are words of
their own."""


def asks_of(prompts: PreparedPrompts, options: TextOptions) -> list[tuple[str, Prompt, Ask]]:
    """Every answer that is wanted, with its part of the data: first of what judges, then of the
    training prompts in an order that is as good as random, for a budget may end before the last.
    """
    train = sorted(
        prompts.train, key=lambda one: blake2b(one.text.encode("utf-8"), digest_size=16).digest()
    )
    wanted = [("validation", one, Ask(one.text, 0, one.messages)) for one in prompts.validation]
    wanted += [("test", one, Ask(one.text, 0, one.messages)) for one in prompts.test]
    for sample in range(options.per_prompt):
        wanted += [("train", one, Ask(one.text, sample, one.messages)) for one in train]
    return wanted


def write_text_targets(
    recipe: LanguageRecipe,
    prompts: PreparedPrompts,
    writer: WritesText,
    tokenizer: Any,
    *,
    teacher: str,
    out: Path,
    beside: Path,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Let a teacher answer every prompt, choose what is learned from, and write both down.

    Args:
        recipe: Says how many answers, and which are kept.
        prompts: Of every part.
        writer: The teacher; it keeps what it wrote, so that a killed call goes on where it was.
        tokenizer: Whose tokens students read.
        teacher: Its fingerprint.
        out: The folder of answers.
        beside: The folder beside the runs where a judge's verdicts are kept.
        progress: A bar in answers.

    Returns:
        Facts for the stage.
    """
    options = text_options(recipe)
    wanted = asks_of(prompts, options)
    no_room = _without_room(recipe, wanted, tokenizer)
    asked = [place for place in range(len(wanted)) if place not in no_room]
    found: dict[int, str | BadAnswer] = {}
    with progress.bar("Writing answers", total=len(asked), unit="answers") as advance:
        for batch in writer.write([wanted[place][2] for place in asked], progress=progress):
            found |= {asked[place]: said for place, said in batch}
            advance(len(batch))
    answers = []
    for place, (part, prompt, ask) in enumerate(wanted):
        said = found.get(place)
        why = said.reason if isinstance(said, BadAnswer) else None
        if said is None:
            why = no_room.get(place, NOT_ASKED)
        answers.append(
            WrittenAnswer(
                part,
                prompt.text,
                prompt.source,
                prompt.row,
                ask.sample,
                said if isinstance(said, str) else "",
                None if why is None else REASONS.get(why, why.replace("_", " ")),
                messages=prompt.messages,
            )
        )
    answers = leave_out(answers, options)
    answers = [
        answer if isinstance(document, Document) else replace(answer, left_out=document)
        for answer, document in zip(answers, _documents(recipe, answers, tokenizer), strict=True)
    ]
    answers, judge = judged(recipe, answers, beside=beside, progress=progress)
    write_answers(out, answers, teacher=teacher)
    parts = counted(answers)
    if empty := [part for part in ("train", "validation") if not parts[part]["kept"]]:
        raise ModelError(
            f"no answer of the teacher to the {' and '.join(empty)} prompts is kept "
            f"({describe_left_out(parts, empty)}): {out / 'answers.jsonl'} holds them all. Raise "
            "max_new_tokens, or change the filters or the judge of targets"
        )
    account = {**writer.account, **({} if judge is None else {"judge": judge})}
    return {"teacher": teacher, "parts": parts, "answers": account}


def _without_room(
    recipe: LanguageRecipe, wanted: Sequence[tuple[str, Prompt, Ask]], tokenizer: Any
) -> dict[int, str]:
    """Places of prompts that no document could be made of, however short the answer, and why."""
    shortest = answer_documents(
        tokenizer,
        [(prompt, ".") for _, prompt, _ in wanted],
        sequence_length=recipe.task.sequence_length,
        train_on=recipe.data.train_on,
        control_tokens=recipe.data.control_tokens,
    )
    return {
        place: f"not asked: {made} for the prompt alone"
        for place, made in enumerate(shortest)
        if isinstance(made, str)
    }


def describe_left_out(parts: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    """Why answers of some parts were left out, most frequent first: `12 empty, 3 too long`."""
    total: dict[str, int] = {}
    for name in names:
        for why, number in parts[name]["left_out"].items():
            total[why] = total.get(why, 0) + number
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {why}" for why, number in ordered)


def describe_answers(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """How many answers there are and what became of the others, as a sentence."""
    train = parts["train"]
    said = (
        f"Answers of the teacher: {train['kept']:,} to {train['prompts']:,} training prompts are "
        f"learned, {parts['validation']['kept']:,} validate"
    )
    if test := parts.get("test"):
        said += f", {test['kept']:,} are for the test"
    left_out = describe_left_out(parts, list(parts))
    return f"{said}; left out: {left_out}" if left_out else f"{said}; none was left out"


def _documents(
    recipe: LanguageRecipe, answers: Sequence[WrittenAnswer], tokenizer: Any
) -> list[Document | str | None]:
    """For each answer its document, or why there is none."""
    kept = [place for place, answer in enumerate(answers) if answer.left_out is None]
    made = answer_documents(
        tokenizer,
        [(_prompt_of(answers[place]), answers[place].text) for place in kept],
        sequence_length=recipe.task.sequence_length,
        train_on=recipe.data.train_on,
        control_tokens=recipe.data.control_tokens,
    )
    found: list[Document | str | None] = [answer.left_out for answer in answers]
    for place, document in zip(kept, made, strict=True):
        found[place] = document
    return found


def _prompt_of(answer: WrittenAnswer) -> Prompt:
    return Prompt(answer.prompt, answer.source, answer.row, tuple(answer.messages))


def answered_documents(
    recipe: LanguageRecipe, answers: Sequence[WrittenAnswer], tokenizer: Any
) -> PreparedDocuments:
    """The documents of all answers that are kept, by part, and facts of them."""
    parts: dict[str, list[Document]] = {part: [] for part in PARTS}
    made = _documents(recipe, answers, tokenizer)
    for answer, document in zip(answers, made, strict=True):
        if isinstance(document, Document):
            parts[answer.part].append(document)
    facts = {
        part: {
            "documents": len(documents),
            "tokens": sum(len(document.token_ids) for document in documents),
            "trained_tokens": sum(document.positions for document in documents),
            "bytes": sum(document.num_bytes for document in documents),
        }
        for part, documents in parts.items()
    }
    return PreparedDocuments(**parts, warnings=(), facts=facts)
