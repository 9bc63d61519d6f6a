"""Quality and cost of language models on the test documents: teacher, students and controls, on the same machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.config import LanguageRecipe
from tutelage.data import PreparedDocuments
from tutelage.recipes.stages import Deferred
from tutelage.runs import RunFolder, atomic_write_json
from tutelage.targets import TargetStore, inspect
from tutelage.teachers import CausalTeacher
from tutelage.types import SILENT, Progress

PROMPT_TOKENS = 24
"""Length of a prompt where whole documents are trained."""
SPEED_PROMPTS, SPEED_NEW_TOKENS = 2, 32
"""Documents that every model reads against the clock, and tokens it writes after each."""


def held_out_targets(store: TargetStore, folder: Path) -> dict[str, Any]:
    """What the soft targets look like, and a sentence about it."""
    facts = inspect(folder)
    sentence = (
        f"Soft targets: {facts['positions']:,} tokens, {facts['bytes_per_position']:.1f} bytes each, mean entropy "
        f"{facts['mean_entropy_nats']:.2f} nats"
    )
    kept = facts.get("kept_mass")
    if store.manifest.kind == "top_k" and kept is not None:
        sentence += f", {kept:.1%} of the teacher's probability kept exactly, the rest as one tail"
    shown = {name: facts[name] for name in ("positions", "bytes_per_position", "mean_entropy_nats")}
    return {**shown, "sentence": sentence}


def evaluate_language_run(
    recipe: LanguageRecipe,
    folder: RunFolder,
    data: PreparedDocuments,
    teacher: Deferred[CausalTeacher],
    *,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Measure everybody on the test documents; write evaluation.json and predictions.parquet.

    Returns:
        Facts for the stage: documents and tokens evaluated.
    """
    from tutelage.evaluate.cost import exact, folder_bytes
    from tutelage.evaluate.generation import continue_prompts, prompts_of
    from tutelage.evaluate.language import compare_language_models, score_models
    from tutelage.evaluate.language_cost import measure_language_speed, peak_memory_bytes
    from tutelage.evaluate.language_examples import show_distributions, write_document_scores
    from tutelage.students import load_language_student

    judge = teacher.get()
    students = {name: load_language_student(str(folder.students_path / name)) for name in recipe.students}
    controls = (
        {name: load_language_student(str(folder.controls_path / name)) for name in recipe.students}
        if recipe.evaluate.control
        else {}
    )
    everyone = {f"students.{name}": model for name, model in students.items()}
    everyone |= {f"controls.{name}": model for name, model in controls.items()}
    documents = [document for document in data.test if document.positions]
    scores = score_models(judge, everyone, documents, batch_tokens=recipe.teacher.batch_tokens, progress=progress)
    evaluation = compare_language_models(
        documents,
        teacher=scores[""],
        students={name: scores[f"students.{name}"] for name in students},
        controls={name: scores[f"controls.{name}"] for name in controls},
        bootstrap_samples=recipe.evaluate.bootstrap_samples,
        seed=recipe.train.seed,
    )
    longest = sorted(documents, key=lambda document: -len(document.token_ids))
    prompts = [document.token_ids for document in longest[:SPEED_PROMPTS]]
    costs = measure_language_speed(
        {"teacher": judge.language_model.model, **students}, prompts, new_tokens=SPEED_NEW_TOKENS, progress=progress
    )
    sizes = {"teacher": (judge.parameters, judge.disk_bytes, judge.language_model.folder)}
    for name, model in students.items():
        place = folder.students_path / name
        sizes[name] = (sum(weight.numel() for weight in model.parameters()), folder_bytes(place), place)
    for name, (parameters, disk_bytes, place) in sizes.items():
        cost = {"parameters": exact(parameters), "disk_bytes": exact(disk_bytes), **costs[name]}
        memory = None if place is None else peak_memory_bytes(place, prompts[0])
        if memory is not None:
            cost["memory_bytes"] = exact(memory)
        # A control is the same network as its student and costs the same.
        groups = ("students", "controls")
        same = [evaluation["teacher"]] if name == "teacher" else [evaluation[group].get(name, {}) for group in groups]
        for metrics in same:
            metrics.update(cost)
    evaluation["samples"] = continue_prompts(
        {"teacher": judge.language_model.model, **everyone},
        judge.tokenizer,
        prompts_of(documents, recipe.evaluate.generation_prompts, tokens=PROMPT_TOKENS),
        new_tokens=recipe.evaluate.generation_tokens,
        seed=recipe.train.seed,
        progress=progress,
    )
    evaluation["distributions"] = show_distributions(judge, everyone, documents, seed=recipe.train.seed)
    write_document_scores(folder.predictions_path, documents, scores, tokenizer=judge.tokenizer)
    atomic_write_json(folder.evaluation_path, evaluation)
    return {"documents": len(documents), "tokens": evaluation["tokens"]}
