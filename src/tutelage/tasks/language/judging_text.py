"""What an evaluation says besides where the teacher wrote what students learned: how well everybody
foresees its answers to the test prompts, how many answers there were, and some of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tutelage.targets.text import WrittenAnswer, counted
from tutelage.tasks.language.data import text_options
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.types import Document

ANSWER_NATS = "answer_nats"
"""Nats per token of what the teacher wrote to the test prompts."""


def add_answer_nats(evaluation: dict[str, Any], written: Mapping[str, Any]) -> None:
    """Put into an evaluation how surprised everybody is by the teacher's answers.

    Args:
        evaluation: Of the test documents.
        written: The same of the teacher's answers to the test prompts.
    """
    nats = "nats_per_token"
    if nats in written["teacher"]:
        evaluation["teacher"][ANSWER_NATS] = written["teacher"][nats]
    for group in ("students", "controls"):
        for name, numbers in written[group].items():
            evaluation[group][name][ANSWER_NATS] = numbers[nats]
    evaluation["comparisons"] += [
        {**row, "metric": ANSWER_NATS} for row in written["comparisons"] if row["metric"] == nats
    ]


def add_written(
    samples: Sequence[dict[str, Any]],
    prompts: Sequence[Any],
    documents: Sequence[Document],
    answers: Sequence[WrittenAnswer],
) -> None:
    """Put what the teacher wrote beside what others write after the same beginnings.

    Args:
        samples: From `continue_prompts`.
        prompts: The token ids of their beginnings.
        documents: That these begin.
        answers: Of the teacher.
    """
    rows = {
        document.token_ids[: document.trained.argmax()].tobytes(): (document.source, document.row)
        for document in documents
    }
    texts = {(one.source, one.row): one.text for one in answers if one.part == "test" and one.text}
    for sample, prompt in zip(samples, prompts, strict=True):
        if (text := texts.get(rows.get(prompt.tobytes(), ("", 0)))) is not None:
            sample["continuations"] = {"teacher": text, **sample["continuations"]}


SHOWN_ANSWERS, SHOWN_LEFT_OUT = 6, 12
"""Answers that the report shows, of those that are learned and of those that are left out."""


def describe_answers(recipe: LanguageRecipe, answers: Sequence[WrittenAnswer]) -> dict[str, Any]:
    """What the teacher wrote, in numbers and examples."""

    def shown(chosen: Sequence[WrittenAnswer], most: int) -> list[dict[str, Any]]:
        return [
            {"prompt": one.prompt, "answer": one.text, "left_out": one.left_out}
            for one in chosen[:most]
        ]

    train = [answer for answer in answers if answer.part == "train"]
    options = text_options(recipe)
    return {
        "kind": "text",
        "parts": counted(answers),
        "options": {key: value for key, value in asdict(options).items() if value is not None},
        "shown": shown([one for one in train if one.left_out is None], SHOWN_ANSWERS),
        "shown_left_out": shown([one for one in answers if one.left_out], SHOWN_LEFT_OUT),
    }
