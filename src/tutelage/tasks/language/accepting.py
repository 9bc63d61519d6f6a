"""A second teacher that says which answers of the first are good enough to learn from.

In: answers that the filters of a recipe have let through, and `targets.judge`. Out: the same, each
with the probability that the judge gives it, those below the threshold left out; what would keep
the judge from being asked, its name, and what it takes. The judge is a teacher of two classes, yes
and no, that reads prompt and answer as one text. So every such teacher that needs no labels serves:
a model here is asked for the words, a server by whichever protocol it speaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tutelage.errors import Problem
from tutelage.runs import fingerprint
from tutelage.targets.text import WrittenAnswer
from tutelage.tasks.language.data import text_options
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.sections import Judge
from tutelage.teachers.prompted.spec import PromptedTeacherSpec
from tutelage.teachers.spec import CHARACTERS_PER_TOKEN, ClassAssignment, Effort, Limited, placed
from tutelage.types import SILENT, Example, Progress

if TYPE_CHECKING:
    from tutelage.teachers.api.spec import ApiTeacherSpec

NOT_ACCEPTED = "not accepted by the judge"
_MEANINGS = {
    "yes": "the answer does what the prompt asks, and is right",
    "no": "it does not, or something in it is wrong",
}
_INSTRUCTION = (
    "Each text is a prompt with an answer to it. Does the answer do what the prompt asks, and is "
    "it right? Answer yes or no."
)


def judge_of(recipe: LanguageRecipe) -> Judge | None:
    """What a recipe says of a judge; None: there is none."""
    return getattr(recipe.targets, "judge", None)


def judge_spec(recipe: LanguageRecipe) -> PromptedTeacherSpec | ApiTeacherSpec | None:
    """Who judges, and how it is asked; None: nobody does."""
    judge = judge_of(recipe)
    if judge is None:
        return None
    spec = judge.teacher.spec()
    if spec.instruction is None:
        spec = replace(spec, instruction=_INSTRUCTION)
    if isinstance(spec, PromptedTeacherSpec):
        # Prompt and answer have no more tokens than this, unless its tokens are far shorter.
        longest = max(spec.max_length, 2 * recipe.task.sequence_length)
        spec = replace(spec, max_length=longest)
    return spec


def _assignment(answers: Path | None = None) -> ClassAssignment:
    return ClassAssignment(tuple(_MEANINGS), train=(), descriptions=_MEANINGS, answers=answers)


def judge_problems(recipe: LanguageRecipe) -> list[Problem]:
    """What keeps the judge from being asked, at its place in the recipe."""
    spec = judge_spec(recipe)
    if spec is None:
        return []
    found = placed("targets.judge.teacher", spec.problems(_assignment()))
    facts = None if found else spec.facts(_assignment())
    if facts and facts.context is not None and facts.context < recipe.task.sequence_length:
        message = (
            f"it reads {facts.context:,} tokens, and task.sequence_length is "
            f"{recipe.task.sequence_length:,}: of longer answers it sees the beginning only"
        )
        found.append(Problem("targets.judge.teacher.model", message, "warning"))
    return found


def judge_sources(recipe: LanguageRecipe) -> str | None:
    """Names the judge's weights, or who is asked; None: there is none.

    Raises:
        ModelError: The model is not there.
    """
    spec = judge_spec(recipe)
    return None if spec is None else spec.sources(_assignment())


def judge_fingerprint(recipe: LanguageRecipe) -> str | None:
    """Names everything that its choice depends on; None: there is none.

    Raises:
        ModelError: The model is not there.
    """
    judge, spec = judge_of(recipe), judge_spec(recipe)
    if judge is None or spec is None:
        return None
    limit = spec.limit if isinstance(spec, Limited) else None
    return fingerprint("judge", spec.fingerprint(_assignment()), judge.threshold, limit)


def judge_effort(
    recipe: LanguageRecipe, *, answers: int, characters: float, rate: float
) -> Effort | None:
    """What judging so many answers takes, whose texts with prompts have so many characters."""
    spec = judge_spec(recipe)
    if spec is None:
        return None
    tokens = characters / CHARACTERS_PER_TOKEN
    return spec.estimate(_assignment(), texts=answers, tokens=tokens, rate=rate)


def judged(
    recipe: LanguageRecipe,
    answers: Sequence[WrittenAnswer],
    *,
    beside: Path,
    progress: Progress = SILENT,
) -> tuple[list[WrittenAnswer], dict[str, Any] | None]:
    """Let the judge read the answers that are kept so far.

    Args:
        recipe: Names the judge and the threshold.
        answers: All; those that are left out already are not judged.
        beside: The folder beside the runs where verdicts are kept the moment they come.
        progress: A bar in answers.

    Returns:
        The answers with `accepted`, those below the threshold or without a verdict left out; and
        facts of the judge. Without a judge the answers as they are, and None.

    Raises:
        BudgetSpent: The judge's budget is spent, and says `then: stop`.
        ModelError: It cannot be asked.
        ServerTrouble: It does not answer.
    """
    judge, spec = judge_of(recipe), judge_spec(recipe)
    if judge is None or spec is None:
        return list(answers), None
    system = text_options(recipe).system
    texts = {
        place: Example(judged_text(one, system=system), source=one.source, row=one.row)
        for place, one in enumerate(answers)
        if one.left_out is None
    }
    each = list({example.example_id: example for example in texts.values()}.values())
    accepted, reasons, facts = _verdicts(spec, each, beside=beside, progress=progress)
    found = list(answers)
    for place, example in texts.items():
        probability = accepted.get(example.example_id)
        why = None
        if probability is None:
            why = f"not judged: {reasons.get(example.example_id, 'no verdict').replace('_', ' ')}"
        elif probability < judge.threshold:
            why = NOT_ACCEPTED
        found[place] = replace(found[place], accepted=probability, left_out=why)
    return found, {**facts, "threshold": judge.threshold, "judged": len(each)}


def judged_text(answer: WrittenAnswer, *, system: str | None = None) -> str:
    """What the judge reads of an answer.

    Args:
        answer: With its prompt, or the transcript of a conversation.
        system: What the teacher was told besides; None: nothing.
    """
    parts = {"Instructions": system, "Prompt": answer.prompt, "Answer": answer.text}
    return "\n\n".join(f"{name}: {text}" for name, text in parts.items() if text is not None)


def _verdicts(
    spec: PromptedTeacherSpec | ApiTeacherSpec,
    examples: Sequence[Example],
    *,
    beside: Path,
    progress: Progress,
) -> tuple[dict[bytes, float], Mapping[bytes, str], dict[str, Any]]:
    """The probability of yes by content id, why others have none, and facts of the judge."""
    from tutelage.teachers.labelling import label
    from tutelage.teachers.teacher import Accounts, AnswersAsTheyCome

    assignment = _assignment(beside)
    with TemporaryDirectory() as folder:
        facts = spec.make(assignment, out=Path(folder), progress=progress)
        judge = spec.load(Path(folder), assignment)
    said, model = str(facts["description"]), str(facts["model"])
    told: dict[str, Any] = {"description": said if model in said else f"{model}, {said}"}
    if not isinstance(judge, AnswersAsTheyCome):
        store = label(
            judge, examples, out=beside / f"judged-{judge.fingerprint}", progress=progress
        )
        ids = [example.example_id for example in examples]
        return dict(zip(ids, map(float, store.lookup(ids)[:, 0]), strict=True)), {}, told
    found: dict[bytes, float] = {}
    with progress.bar("Judging answers", total=len(examples), unit="answers") as advance:
        for places, probs in judge.answers(examples, progress=progress):
            found |= {
                examples[place].example_id: float(row[0])
                for place, row in zip(places, probs, strict=True)
            }
            advance(len(places))
    account = dict(judge.account) if isinstance(judge, Accounts) else {}
    told |= {key: account[key] for key in _ACCOUNT if account.get(key) is not None}
    return found, judge.unanswered, told


_ACCOUNT = ("requests", "input_tokens", "output_tokens", "cost", "models", "unanswered")
"""What is kept of what asking took."""
