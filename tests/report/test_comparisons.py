import pytest

from tutelage.report.comparisons import cost_ratio, settled, unsigned
from tutelage.report.formats import rate
from tutelage.report.measures import Measure


@pytest.mark.parametrize(
    ("low", "high", "up", "word"),
    [
        (0.1, 0.2, True, "better"),
        (0.1, 0.2, False, "worse"),
        (-0.2, -0.1, True, "worse"),
        (-0.2, -0.1, False, "better"),
        (-0.1, 0.2, True, "not settled"),
        (0.0, 0.2, True, "not settled"),
    ],
)
def test_what_an_interval_settles(low, high, up, word):
    assert settled({"low": low, "high": high}, higher_is_better=up) == word


def test_a_settled_difference_loses_its_sign_and_keeps_its_order():
    down = {"value": -0.2, "low": -0.3, "high": -0.1}
    up = {"value": 0.2, "low": 0.1, "high": 0.3}
    assert unsigned(down) == up
    assert unsigned(up) == up


@pytest.mark.parametrize(
    ("ours", "higher_is_better", "ratio"),
    [(2.0, False, 5.0), (2.0, True, 0.2), (0.0, False, None), (None, False, None)],
)
def test_a_ratio_above_one_is_cheaper_whichever_way_is_better(ours, higher_is_better, ratio):
    measure = Measure(
        key="cost", title="", reading="", show=rate, higher_is_better=higher_is_better
    )
    model = {} if ours is None else {"cost": {"value": ours}}
    assert cost_ratio({"teacher": {"cost": {"value": 10.0}}}, model, measure) == ratio
