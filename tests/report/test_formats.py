import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.report import formats


def plain(text):
    return (
        text.replace(formats.THIN, " ").replace(formats.NO_BREAK, " ").replace(formats.MINUS, "-")
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.percent(0.9612), "96.1 %"),
        (formats.times(1.44), "1.4"),
        (formats.times(143.3), "143"),
        (formats.times(12_345), "12,300"),
        (formats.magnitude(134_515_008), "135 M"),
        (formats.size_bytes(5_240_000), "5.24 MB"),
        (formats.milliseconds(0.4567), "0.457 ms"),
        (formats.milliseconds(1500), "1.50 s"),
        (formats.duration(200), "3 min 20 s"),
        (formats.duration(3725), "1 h 2 min"),
        (formats.change(-0.04, 1), "0.0"),
        (formats.change(4.12, 1), "+4.1"),
        (formats.bracket({"low": -0.0112, "high": 0.0344}, scale=100), "[-1.1, 3.4]"),
        (formats.bracket({"low": -0.0884, "high": -0.0001}, digits=3), "[-0.088, -0.0001]"),
        (formats.probability(0.00001), "< 0.001"),
        (formats.plural(1, "row"), "1 row"),
    ],
)
def test_numbers_as_people_read_them(shown, expected):
    assert plain(shown) == expected


@given(st.text(max_size=50), st.integers(1, 60))
def test_shortened_text_keeps_its_limit(text, limit):
    assert len(formats.shortened(text, limit)) <= limit
    if len(text) <= limit:
        assert formats.shortened(text, limit) == text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([formats.plain_bytes(n) for n in (512, 1_400_000, 540e6)], ["512 B", "1.4 MB", "540 MB"]),
        (
            [formats.plain_bytes(n) for n in (28_510, 5e9, 7e11, 2e13)],
            ["28.5 kB", "5.0 GB", "700 GB", "20000 GB"],
        ),
        (
            [formats.plain_count(n) for n in (12, 5600, 134.5e6, 7e9)],
            ["12", "5.6k", "134M", "7.0B"],
        ),
        ([formats.plain_times(n) for n in (1, 100, 2.5, 0.4, 0.025)], "1x 100x 2.5x 0.4x 0.025x"),
        ([formats.plain(1, scale=100)(0.46), formats.plain(3)(5.8249)], ["46.0", "5.825"]),
    ],
)
def test_numbers_for_a_terminal_are_narrow(shown, expected):
    assert shown == (expected.split() if isinstance(expected, str) else expected)
