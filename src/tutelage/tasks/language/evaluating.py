"""Quality and cost of language models on the test documents: teacher, students and controls, on the
same machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tutelage.data import PreparedDocuments
from tutelage.processes import crew
from tutelage.report.preference import KEY as PREFERRED
from tutelage.report.preference import choose_student
from tutelage.runs import RunFolder, atomic_write_json
from tutelage.runs.stages import Deferred
from tutelage.targets import TargetStore, inspect
from tutelage.targets.text import WrittenAnswer
from tutelage.tasks.language.data import teacher_spec, teacher_tokenizer
from tutelage.tasks.language.judging_text import add_answer_nats, add_written, describe_answers
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.report.measures import MEASURES
from tutelage.tasks.language.report.sentences import kept_intervals
from tutelage.tasks.language.training import load_judged_student, settings_of, teacher_vocabulary
from tutelage.teachers.teacher import Cost, HiddenStates, OwnWeights
from tutelage.types import SILENT, Document, Progress

PROMPT_TOKENS = 24
"""Length of a prompt where whole documents are trained."""
BATCH_TOKENS = 4096
"""Read at once where no teacher says how many."""
SPEED_PROMPTS, SPEED_NEW_TOKENS = 2, 32
"""Documents that every model reads against the clock, and tokens it writes after each."""
SAMPLING_TEMPERATURE, TOP_P = 0.7, 0.9
"""How the samples of the report are drawn."""


def held_out_targets(store: TargetStore, *, is_served: bool = False) -> dict[str, Any]:
    """What the soft targets look like, and a sentence about it; of a server's, nobody knows the
    entropy.
    """
    facts = inspect(store)
    sentence = (
        f"Soft targets: {facts['positions']:,} tokens, {facts['bytes_per_position']:.1f} bytes each"
    )
    shown = {name: facts[name] for name in ("positions", "bytes_per_position")}
    if not is_served:
        shown["mean_entropy_nats"] = facts["mean_entropy_nats"]
        sentence += f", mean entropy {facts['mean_entropy_nats']:.2f} nats"
    kept = facts.get("kept_mass")
    if store.manifest.kind == "top_k" and kept is not None:
        sentence += f", {kept:.1%} of the teacher's probability kept exactly, the rest as one tail"
    return {**shown, "sentence": sentence}


def evaluate_language_run(
    recipe: LanguageRecipe,
    folder: RunFolder,
    data: PreparedDocuments,
    teacher: Deferred[HiddenStates | None],
    *,
    learned: PreparedDocuments | None = None,
    answers: Sequence[WrittenAnswer] = (),
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Measure everybody on the test documents; write evaluation.json and predictions.parquet.

    Args:
        recipe: The recipe.
        folder: The run.
        data: What everybody is judged on, and controls learned from.
        teacher: Who is compared with; gives None where it is elsewhere and only writes.
        learned: What the teacher wrote, and students learned from; None: the same as controls.
        answers: What it wrote, those included that are left out.
        progress: Where bars go.

    Returns:
        Facts for the stage: documents and tokens evaluated. The processes of a launch share the
        reading of the test documents; only the leader has facts.
    """
    from tutelage.evaluate.cost import exact, folder_bytes
    from tutelage.evaluate.tokens.comparison import compare_language_models
    from tutelage.evaluate.tokens.cost import (
        cut_to_context,
        measure_language_speed,
        peak_memory_bytes,
    )
    from tutelage.evaluate.tokens.samples import (
        continue_prompts,
        prompts_of,
        show_distributions,
        write_document_scores,
    )
    from tutelage.evaluate.tokens.scores import score_models, view_of

    mine, judge = crew(), teacher.get()
    tokenizer = teacher_tokenizer(recipe) if judge is None else judge.tokenizer
    vocabulary = teacher_vocabulary(recipe, tokenizer)
    batch_tokens = BATCH_TOKENS if judge is None else judge.batch_tokens
    students = {
        name: load_judged_student(recipe, name, folder.students_path, judge)
        for name in recipe.students
    }
    controls = (
        {
            name: load_judged_student(recipe, name, folder.controls_path, judge)
            for name in recipe.students
        }
        if recipe.evaluate.control
        else {}
    )
    everyone = {f"students.{name}": model for name, model in students.items()}
    everyone |= {f"controls.{name}": model for name, model in controls.items()}
    documents = [document for document in data.test if document.positions]

    def judged(tested: Sequence[Document]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everybody's scores of some documents, and what they come to."""
        scores = score_models(
            judge,
            everyone,
            tested,
            vocabulary=vocabulary,
            batch_tokens=batch_tokens,
            mine=mine,
            progress=progress,
        )
        if not mine.leads:
            return scores, {}
        found = compare_language_models(
            tested,
            teacher=scores.get(""),
            students={name: scores[f"students.{name}"] for name in students},
            controls={name: scores[f"controls.{name}"] for name in controls},
            bootstrap_samples=recipe.evaluate.bootstrap_samples,
            seed=recipe.train.seed,
        )
        return scores, found

    scores, evaluation = judged(documents)
    answered = None
    if learned is not None and learned.test and learned.test != data.test:
        answered = judged(learned.test)[1]
    if not mine.leads:  # what follows is timed, drawn or written by one alone
        return {}
    if answered is not None:
        add_answer_nats(evaluation, answered)
    longest = sorted(documents, key=lambda document: -len(document.token_ids))
    own = {"teacher": judge.language_model.model} if isinstance(judge, OwnWeights) else {}
    timed = own | students
    prompts = cut_to_context(
        timed.values(),
        [document.token_ids for document in longest[:SPEED_PROMPTS]],
        new_tokens=SPEED_NEW_TOKENS,
    )
    costs = measure_language_speed(timed, prompts, new_tokens=SPEED_NEW_TOKENS, progress=progress)
    sizes: dict[str, tuple[int, int, Path | None]] = {}
    if isinstance(judge, Cost) and isinstance(judge, OwnWeights):
        sizes["teacher"] = judge.parameters, judge.disk_bytes, judge.language_model.folder
    for name, model in students.items():
        place = folder.students_path / name
        sizes[name] = (
            sum(weight.numel() for weight in model.parameters()),
            folder_bytes(place),
            place,
        )
    for name, (parameters, disk_bytes, place) in sizes.items():
        cost = {"parameters": exact(parameters), "disk_bytes": exact(disk_bytes), **costs[name]}
        view, read = view_of(timed[name]), prompts[0]
        if view is not None:
            read = view.vocabulary.spell(read).ids.astype(read.dtype)
        memory = (
            None
            if place is None
            else peak_memory_bytes(place, read, next(timed[name].parameters()).dtype)
        )
        if memory is not None:
            cost["memory_bytes"] = exact(memory)
        # A control is the same network as its student and costs the same.
        groups = ("students", "controls")
        same = (
            [evaluation["teacher"]]
            if name == "teacher"
            else [evaluation[group].get(name, {}) for group in groups]
        )
        for metrics in same:
            metrics.update(cost)
    evaluation["speed"] = {
        "prompt_tokens": [len(prompt) for prompt in prompts],
        "new_tokens": SPEED_NEW_TOKENS,
        "number_formats": {
            name: str(next(model.parameters()).dtype).removeprefix("torch.")
            for name, model in timed.items()
        },
    }
    prompts_shown = prompts_of(documents, recipe.evaluate.generation_prompts, tokens=PROMPT_TOKENS)
    evaluation["samples"] = continue_prompts(
        own | everyone,
        tokenizer,
        prompts_shown,
        new_tokens=recipe.evaluate.generation_tokens,
        sampling_temperature=SAMPLING_TEMPERATURE,
        top_p=TOP_P,
        seed=recipe.train.seed,
        progress=progress,
    )
    if judge is None:
        add_written(evaluation["samples"], prompts_shown, documents, answers)
    evaluation["sampling"] = {
        "sampling_temperature": SAMPLING_TEMPERATURE,
        "top_p": TOP_P,
        "new_tokens": recipe.evaluate.generation_tokens,
    }
    if judge is not None:
        evaluation["distributions"] = show_distributions(
            judge, everyone, documents, seed=recipe.train.seed
        )
    evaluation["targets"] = describe_targets(recipe, folder, answers)
    evaluation["training"] = training_facts(recipe, folder, learned or data, {"students": students})
    evaluation["training"] |= training_facts(recipe, folder, data, {"controls": controls})
    if recipe.evaluate.prefer is not None:
        evaluation[PREFERRED] = preferred_student(evaluation, keep=recipe.evaluate.prefer.keep)
    write_document_scores(folder.predictions_path, documents, scores, tokenizer=tokenizer)
    atomic_write_json(folder.evaluation_path, evaluation)
    return {"documents": evaluation["documents"], "tokens": evaluation["tokens"]}


def preferred_student(evaluation: Mapping[str, Any], *, keep: float) -> dict[str, Any]:
    """The cheapest student that keeps this share of the teacher, by the speed of writing."""
    measure, kept = kept_intervals(evaluation)
    cost = MEASURES["tokens_per_second"]
    return choose_student(evaluation, keep=keep, measure=measure, kept=kept, cost=cost)


def describe_targets(
    recipe: LanguageRecipe, folder: RunFolder, answers: Sequence[WrittenAnswer] = ()
) -> dict[str, Any]:
    """What the teacher wrote down and how long that took; only the kind where nothing is stored."""
    if recipe.targets.kind == "live":
        return {"kind": "live"}
    if recipe.targets.kind == "text":
        return describe_answers(recipe, answers)
    facts = inspect(folder.targets_path)
    told = ("teacher", "tokenizer", "complete")
    if not teacher_spec(recipe).has_weights:  # a server tells no entropy
        told = (*told, "mean_entropy_nats")
    shown = {name: value for name, value in facts.items() if name not in told}
    stage = folder.stage("targets")
    # Of labelling that went on where an earlier call had stopped, nobody has the time of all of it.
    return shown if stage.facts.get("continued") else {**shown, "seconds": stage.seconds}


def training_facts(
    recipe: LanguageRecipe,
    folder: RunFolder,
    data: PreparedDocuments,
    groups: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, dict[str, Any]]]:
    """What training took, by `students` and `controls`, then by name.

    Returns:
        `tokens` read, repeated ones counted again; `steps`, `best_step`, `best_validation_loss`;
        `seconds` of wall time, validation included (of calls that were interrupted up to their last
        checkpoint).
    """
    from tutelage.evaluate.tokens.scores import view_of
    from tutelage.models import packs
    from tutelage.train.steps.tokens.plan import plan_steps

    documents = [document for document in data.train if document.positions]
    found: dict[str, dict[str, dict[str, Any]]] = {group: {} for group in groups}
    for group, models in groups.items():
        for name, model in models.items():
            view = view_of(model)
            own = model if view is None else view.model
            plan = plan_steps(documents, settings_of(recipe, name), pack=packs(own))
            stage = folder.stage(f"{group}/{name}")
            facts = dict(stage.facts)
            seconds = facts.pop("training_seconds", stage.seconds)
            found[group][name] = {
                "tokens": _tokens_read(plan.steps, documents),
                **facts,
                "seconds": seconds,
            }
    return found


def _tokens_read(steps: Sequence[Sequence[Any]], documents: Sequence[Document]) -> int:
    return sum(
        len(documents[index].token_ids)
        for step in steps
        for rows in step
        for row in rows
        for index in row
    )
