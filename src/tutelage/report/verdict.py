"""The verdict in plain words, computed from the numbers; a sentence says no more than its interval carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.report import formats
from tutelage.report.formats import bracket, change, percent, times
from tutelage.report.measures import BY_KEY
from tutelage.report.standing import baseline_difference, baseline_title, best_baseline, cost_ratio, find_comparison

_FEW_ROWS = 300
"""Below this many gold labels an accuracy of 75 % is known to no better than about 5 points either way."""
_CALIBRATION_SLACK = 0.10
"""A stated confidence this far from accuracy, on average, is worth a warning."""


@dataclass(frozen=True)
class Figure:
    """One large number at the top of the page."""

    value: str
    """The number."""
    caption: str
    """What it is."""
    detail: str = ""
    """Its interval, or what it is measured against."""


@dataclass(frozen=True)
class StudentVerdict:
    """What can be said of one student."""

    name: str
    """The student."""
    sentences: list[str]
    """Plain sentences: quality and cost, what the teacher bought, simple methods."""


@dataclass(frozen=True)
class Verdict:
    """The top of the page."""

    headline: str
    """One sentence on the most accurate student."""
    deck: list[str]
    """What must be known beside the headline."""
    figures: list[Figure]
    """The large numbers of that student."""
    students: list[StudentVerdict]
    """Every student, in the order of the recipe."""
    cautions: list[str]
    """What speaks against believing or using the result."""


def reach_verdict(evaluation: Mapping[str, Any]) -> Verdict:
    """Say in plain words what the numbers of a run carry.

    Args:
        evaluation: The content of evaluation.json.

    Returns:
        Sentences without markup; names are as given and need escaping.
    """
    students: Mapping[str, Any] = evaluation["students"]
    judged = "accuracy" in evaluation["teacher"]
    key = "accuracy" if judged else "agreement"
    best = max(students, key=lambda name: students[name][key]["value"])
    return Verdict(
        headline=_headline(evaluation, best, judged=judged),
        deck=_deck(evaluation, best, judged=judged),
        figures=_figures(evaluation, best, judged=judged),
        students=[StudentVerdict(name, _sentences(evaluation, name, judged=judged)) for name in students],
        cautions=_cautions(evaluation, judged=judged),
    )


def _headline(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> str:
    student = evaluation["students"][name]
    if judged:
        verb = "reaches" if _kept_value(evaluation, name) >= 1 else "keeps"
        quality = f"{verb} {_kept(evaluation, name)[0]} of the teacher’s accuracy"
    else:
        quality = f"gives the teacher’s answer on {percent(student['agreement']['value'])} of the test texts"
    doubt = _better_without(evaluation, name) if judged else ""
    return f"The student “{name}” {quality}{doubt or _speed_clause(cost_ratio(evaluation, student, 'latency_ms_p50'))}."


def _better_without(evaluation: Mapping[str, Any], name: str) -> str:
    """What does clearly better than the student; no headline may leave that out."""
    row = find_comparison(evaluation, name, "control", "accuracy")
    if row is not None and row["difference"]["high"] < 0:
        return ", but trained on labels alone it does better"
    best = best_baseline(evaluation)
    difference = baseline_difference(evaluation, name, best)
    if difference is not None and difference["high"] < 0:
        return f", but {baseline_title(best)}, which needs no teacher, does better"
    return ""


def _deck(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> list[str]:
    if not judged:
        return ["No test row carries a gold label, so nothing here says how often the teacher or a student is right."]
    sentences = [_control_sentence(evaluation, name), *_baseline_sentences(evaluation, name, only_doubts=True)]
    return [sentence for sentence in sentences if sentence]


def _sentences(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> list[str]:
    student, teacher = evaluation["students"][name], evaluation["teacher"]
    cost = _cost_clause(evaluation, student)
    agreement = (
        f"Gives the teacher’s answer on {percent(student['agreement']['value'])} of the test texts "
        f"{bracket(student['agreement'], scale=100)}"
        if "agreement" in student
        else ""
    )
    if not judged:
        return [f"{agreement}{cost}."]
    kept, interval = _kept(evaluation, name)
    verb = "Reaches" if _kept_value(evaluation, name) >= 1 else "Keeps"
    accuracies = f"{percent(student['accuracy']['value'])} against {percent(teacher['accuracy']['value'])}"
    first = f"{verb} {kept} of the teacher’s accuracy {interval}".rstrip() + f" ({accuracies}){cost}."
    return [
        sentence
        for sentence in (
            first,
            _difference_sentence(evaluation, name),
            _control_sentence(evaluation, name),
            _probability_sentence(evaluation, name),
            *_baseline_sentences(evaluation, name, only_doubts=False),
        )
        if sentence
    ]


def _kept_value(evaluation: Mapping[str, Any], name: str) -> float:
    """The share of the teacher's accuracy that a student keeps."""
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    if row and "ratio" in row:
        return row["ratio"]["value"]
    theirs = evaluation["teacher"]["accuracy"]["value"]
    return evaluation["students"][name]["accuracy"]["value"] / theirs if theirs else float("nan")


def _kept(evaluation: Mapping[str, Any], name: str) -> tuple[str, str]:
    """That share in words, and its interval if the evaluation has one."""
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    interval = bracket(row["ratio"], scale=100) if row and "ratio" in row else ""
    return percent(_kept_value(evaluation, name)), interval


def _difference_sentence(evaluation: Mapping[str, Any], name: str) -> str:
    row = find_comparison(evaluation, name, "teacher", "accuracy")
    if row is None:
        return ""
    difference = row["difference"]
    if difference["low"] > 0:
        return f"It is more accurate than its teacher, by {_points(difference)}."
    if difference["high"] < 0:
        return f"It is less accurate than its teacher, by {_points(difference)}."
    return (
        f"The difference from its teacher, {_signed_points(difference)}, includes zero: {_rows(evaluation)} "
        "cannot tell the two apart in accuracy."
    )


def _control_sentence(evaluation: Mapping[str, Any], name: str) -> str:
    row = find_comparison(evaluation, name, "control", "accuracy")
    control = evaluation.get("controls", {}).get(name)
    if row is None or control is None:
        return (
            "There is no control, so nothing here says what the teacher bought (evaluate: {control: true} trains one)."
        )
    difference, reached = row["difference"], percent(control["accuracy"]["value"])
    if difference["low"] > 0:
        return f"On labels alone the same network reaches {reached}: the teacher bought {_points(difference)}."
    if difference["high"] < 0:
        return (
            f"On labels alone the same network does better and reaches {reached}: distillation cost "
            f"{_points(difference)}."
        )
    return (
        f"On labels alone the same network reaches {reached}. The difference, {_signed_points(difference)}, "
        "includes zero: "
        "these rows do not show that the teacher helped accuracy."
    )


def _probability_sentence(evaluation: Mapping[str, Any], name: str) -> str:
    """What the teacher did to the probabilities, where the interval settles it."""
    row = find_comparison(evaluation, name, "control", "nll")
    if row is None:
        return ""
    difference = row["difference"]
    amount = f"{formats.decimal(abs(difference['value']))} nats"
    interval = bracket(difference, digits=3)
    if difference["high"] < 0:
        return (
            f"Its probabilities are better than the control’s: negative log-likelihood lower by {amount} "
            f"(difference {interval})."
        )
    if difference["low"] > 0:
        return (
            f"Its probabilities are worse than the control’s: negative log-likelihood higher by {amount} "
            f"(difference {interval})."
        )
    return (
        "Whether its probabilities are better than the control’s is not settled (negative log-likelihood, "
        f"difference {interval})."
    )


def _baseline_sentences(evaluation: Mapping[str, Any], name: str, *, only_doubts: bool) -> list[str]:
    """The best simple method beside the student; with `only_doubts`, only if the student is not clearly better."""
    baselines = evaluation.get("baselines", {})
    if not baselines:
        return []
    best = best_baseline(evaluation)
    reached, title = percent(baselines[best]["accuracy"]["value"]), baseline_title(best)
    difference = baseline_difference(evaluation, name, best)
    if difference is None:
        return [] if only_doubts else [f"{title} reaches {reached}."]
    if difference["low"] > 0:
        return [] if only_doubts else [f"{title} reaches {reached}; the student is better by {_points(difference)}."]
    if difference["high"] < 0:
        return [
            f"{title}, which needs no teacher, reaches {reached} and is better than this student, by "
            f"{_points(difference)}."
        ]
    return [
        f"It is not clearly better than {title}, which needs no teacher and reaches {reached} (difference "
        f"{_signed_points(difference)})."
    ]


def _cautions(evaluation: Mapping[str, Any], *, judged: bool) -> list[str]:
    cautions: list[str] = []
    if not judged:
        return cautions
    labelled = evaluation.get("labelled_rows", evaluation["rows"])
    teacher = evaluation["teacher"]["accuracy"]
    if labelled < _FEW_ROWS:
        cautions.append(
            f"Only {formats.plural(labelled, 'test row')} with a gold label: every interval is wide. More test "
            "rows would narrow them."
        )
    majority = evaluation.get("baselines", {}).get("majority")
    if majority and teacher["value"] and majority["accuracy"]["value"] >= 0.8 * teacher["value"]:
        share = percent(majority["accuracy"]["value"] / teacher["value"])
        cautions.append(
            f"Always answering the commonest label already gives {share} of the teacher’s accuracy, so the share "
            "kept says little here. Look at macro F1."
        )
    cautions += [
        f"The teacher itself is not clearly better than {baseline_title(row['baseline'])} "
        f"(difference {_signed_points(row['difference'])}): a better teacher comes first."
        for row in evaluation.get("teacher_against_baselines", [])
        if row["metric"] == "accuracy" and row["difference"]["low"] <= 0
    ]
    poorly = [name for name, student in evaluation["students"].items() if student["ece"]["value"] > _CALIBRATION_SLACK]
    if teacher_ece := evaluation["teacher"].get("ece"):
        poorly = (["the teacher"] if teacher_ece["value"] > _CALIBRATION_SLACK else []) + poorly
    if len(poorly) > len(evaluation["students"]):
        poorly = ["the teacher and every student"]
    if poorly:
        cautions.append(
            f"Confidence is not to be taken at its word (calibration error above {_CALIBRATION_SLACK:.2f}): "
            f"{', '.join(poorly)}."
        )
    return cautions


def _figures(evaluation: Mapping[str, Any], name: str, *, judged: bool) -> list[Figure]:
    student = evaluation["students"][name]
    figures: list[Figure] = []
    if judged:
        kept, interval = _kept(evaluation, name)
        figures.append(Figure(kept, "of the teacher’s accuracy", interval))
    elif "agreement" in student:
        figures.append(
            Figure(
                percent(student["agreement"]["value"]),
                "same answer as the teacher",
                bracket(student["agreement"], scale=100),
            )
        )
    if speed := cost_ratio(evaluation, student, "latency_ms_p50"):
        pace = _against(evaluation, student, "latency_ms_p50")
        figures.append(
            Figure(
                f"{times(max(speed, 1 / speed))}×",
                "faster, one text at a time" if speed >= 1 else "slower, one text at a time",
                pace,
            )
        )
    if size := cost_ratio(evaluation, student, "parameters"):
        parameters = _against(evaluation, student, "parameters")
        figures.append(
            Figure(
                f"1/{times(size)}" if size >= 1 else f"{times(1 / size)}×", "of the teacher’s parameters", parameters
            )
        )
    row = find_comparison(evaluation, name, "control", "accuracy")
    if row is not None:
        low, high = row["difference"]["low"], row["difference"]["high"]
        caption = (
            "points of accuracy bought by the teacher"
            if low > 0
            else "points of accuracy beside the same network on labels alone"
        )
        if low <= 0 <= high:
            caption += ": not settled"
        figures.append(
            Figure(change(row["difference"]["value"] * 100, 1), caption, bracket(row["difference"], scale=100))
        )
    return figures


def _against(evaluation: Mapping[str, Any], student: Mapping[str, Any], key: str) -> str:
    """The student's number against the teacher's."""
    show = BY_KEY[key].show
    return f"{show(student[key]['value'])} against {show(evaluation['teacher'][key]['value'])}"


def _speed_clause(speed: float | None) -> str:
    if speed is None:
        return ""
    if speed >= 1.05:
        return f" and answers {times(speed)} times faster"
    if speed <= 0.95:
        return f" but answers {times(1 / speed)} times slower"
    return " and answers no faster"


def _cost_clause(evaluation: Mapping[str, Any], student: Mapping[str, Any]) -> str:
    size = cost_ratio(evaluation, student, "parameters")
    clause = (
        ""
        if size is None
        else f" at 1/{times(size)} of its parameters"
        if size >= 1
        else f" at {times(1 / size)} times its parameters"
    )
    speed = _speed_clause(cost_ratio(evaluation, student, "latency_ms_p50"))
    return clause + ("," if clause and speed else "") + speed


def _points(difference: Mapping[str, float]) -> str:
    """The size of a settled difference, without its sign."""
    if difference["high"] < 0:
        difference = {"value": -difference["value"], "low": -difference["high"], "high": -difference["low"]}
    return f"{formats.decimal_places(difference['value'] * 100, 1)} points {bracket(difference, scale=100)}"


def _signed_points(difference: Mapping[str, float]) -> str:
    """A difference with its sign."""
    return f"{change(difference['value'] * 100, 1)} points {bracket(difference, scale=100)}"


def _rows(evaluation: Mapping[str, Any]) -> str:
    return formats.plural(evaluation.get("labelled_rows", evaluation["rows"]), "test row")
