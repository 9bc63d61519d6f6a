"""The model card of an export: what it is, where it comes from, how good it is, how it is loaded.

In: what `student.json` says, and what is known of the run. Out: Markdown with a head in YAML, as
the Hugging Face hub reads it. What is not known is said not to be.

Source: Mitchell et al. 2019 (arXiv:1810.03993) for what a card tells, and
https://huggingface.co/docs/hub/model-cards for its form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

CARD = "MODEL_CARD.md"
_TERMS = {
    "allowed": "The recipe says that the teacher’s terms allow training on its answers.",
    "unknown": "Whether the teacher’s terms allow training on its answers is not known, as the "
    "recipe says. Read them before you use or pass on this student.",
    "forbidden": "The recipe says that the teacher’s terms forbid training on its answers.",
}
_MEASURES = (
    ("accuracy", "Accuracy", "share"),
    ("macro_f1", "Macro F1", "share"),
    ("agreement", "Agreement with the teacher", "share"),
    ("nll", "Negative log-likelihood, nats", "number"),
    ("ece", "Expected calibration error", "number"),
)
_HUB_METRICS = {"accuracy": "accuracy", "macro_f1": "f1"}


def card(facts: Mapping[str, Any]) -> str:
    """The model card of an exported student that classifies.

    Args:
        facts: The values of `student.json`; of them only `name` and `question.labels` must be
            there. Besides, `package`: the Python package that the student was put into, where it
            was; `run`: what is known of the run that made it, all of it optional: its
            `name`, `data` (file, rows and labelled rows by split), `recipe` (YAML by student),
            `teacher` and `controls` (numbers as in evaluation.json, those of controls by student),
            `rows` (that numbers were measured on), `level` (of their intervals).

    Returns:
        Markdown that ends with a line end; the same facts give the same text.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tutelage.export", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # it is Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "count": lambda number: f"{number:,}"}
    run, told = facts.get("run") or {}, facts.get("facts") or {}
    name = facts["name"]
    recipe = (run.get("recipe") or {}).get(name) or ""
    teacher = {
        key: (told.get("teacher") or {}).get(key) for key in ("model", "kind", "description")
    }
    return environment.get_template("card.md.j2").render(
        head=_head(facts),
        title=_title(facts),
        name=name,
        question={"descriptions": {}, "instructions": None, **facts["question"]},
        temperature=facts.get("temperature", 1.0),
        max_length=facts.get("max_length"),
        inputs=facts.get("inputs", "tokens"),
        package=facts.get("package"),
        format_name=facts.get("format_name", "onnx"),
        version=facts.get("version"),
        teacher=teacher if any(teacher.values()) else None,
        terms=_TERMS.get(told.get("terms") or ""),
        parity=told.get("parity") or {},
        size=told.get("bytes"),
        tutelage=told.get("tutelage"),
        created=told.get("created"),
        data=run.get("data") or {},
        rows=run.get("rows"),
        level=run.get("level"),
        recipe=recipe,
        fence="`" * max(3, 1 + max(map(len, re.findall("`+", recipe)), default=0)),
        numbers=_numbers(
            told.get("numbers") or {},
            run.get("teacher") or {},
            (run.get("controls") or {}).get(name) or {},
        ),
    )


def _title(facts: Mapping[str, Any]) -> str:
    run = (facts.get("run") or {}).get("name")
    return f"{run}-{facts['name']}" if run else str(facts["name"])


def _head(facts: Mapping[str, Any]) -> str:
    """The YAML that the hub reads, without its fences."""
    from huggingface_hub import EvalResult, ModelCardData

    told, run = facts.get("facts") or {}, facts.get("run") or {}
    numbers, test = told.get("numbers") or {}, (run.get("data") or {}).get("test") or {}
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type="private",
            dataset_name=test.get("file") or "test rows of the run",
            dataset_split="test",
            metric_type=metric,
            metric_value=round(numbers[measure]["value"], 4),
        )
        for measure, metric in _HUB_METRICS.items()
        if measure in numbers
    ]
    data = ModelCardData(
        license="unknown",
        library_name="onnx",
        pipeline_tag="text-classification",
        tags=["tutelage", "knowledge-distillation", "onnx"],
        model_name=_title(facts) if results else None,
        eval_results=results or None,
    )
    return data.to_yaml(line_break="\n")


def _numbers(
    student: Mapping[str, Any], teacher: Mapping[str, Any], control: Mapping[str, Any]
) -> list[tuple[str, list[str]]]:
    """Rows of the table: a measure, and what each model has of it."""
    return [
        (title, [_interval(one.get(measure), kind) for one in (student, teacher, control)])
        for measure, title, kind in _MEASURES
        if measure in student
    ]


def _interval(found: Mapping[str, float] | None, kind: str) -> str:
    if found is None:
        return "–"
    value, low, high = (found.get(key) for key in ("value", "low", "high"))
    if value is None:
        return "–"
    write = (lambda one: f"{one * 100:.1f} %") if kind == "share" else (lambda one: f"{one:.3f}")
    spread = "" if low is None or high is None else f" [{write(low)}, {write(high)}]"
    return write(value) + spread


def cell(value: object) -> str:
    """A word of the user's as one line that Markdown shows as it is."""
    text = " ".join(str(value).split())
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return text
