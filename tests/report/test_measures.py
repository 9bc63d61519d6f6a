import pytest

from tutelage.report import formats
from tutelage.report.formats import NO_BREAK, THIN
from tutelage.report.measures import Measure, Measures, distance, share

SPEED = Measure(key="ms", title="Latency", reading="", show=formats.milliseconds)
MEASURES = Measures(
    quality=(share("right", "Right", ""), distance("kl", "KL", "")),
    cost=(SPEED, Measure(key="size", title="Size", reading="", show=formats.magnitude)),
)


def number(value, low, high):
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("measure", "interval", "shown"),
    [
        (MEASURES["right"], number(0.5, 0.42, 0.581), "[42.0, 58.1]"),
        (MEASURES["kl"], number(0.5, 0.42, 0.581), "[0.420, 0.581]"),
        (SPEED, number(1.3, 1.2, 1.4), "[1.20, 1.40]"),
        (SPEED, number(900, 800, 1500), f"[800{THIN}ms, 1.50{THIN}s]"),
        (MEASURES["size"], number(7, 7, 7), ""),
    ],
)
def test_ends_of_an_interval_are_written_in_the_unit_of_the_value(measure, interval, shown):
    assert measure.interval(interval).replace(NO_BREAK, " ") == shown


def test_only_what_a_model_has_is_a_column():
    evaluation = {
        "teacher": {"right": number(1, 1, 1)},
        "students": {"a": {"ms": number(1, 1, 1)}},
        "controls": {},
        "baselines": {"b": {"kl": number(1, 1, 1)}},
    }
    quality, cost = MEASURES.measured(evaluation)
    assert [measure.key for measure in (*quality, *cost)] == ["right", "ms"]
