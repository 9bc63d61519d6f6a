"""Numbers as people read them: percent, intervals, ratios, bytes, durations.

Those whose name begins with `plain` are for terminals: ASCII, and as narrow as can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

THIN = "\u202f"
"""Narrow no-break space, between a number and its unit."""
NO_BREAK = "\u00a0"
MINUS = "\u2212"


def percent(share: float) -> str:
    """A share as percent with one decimal, `96.1 %`."""
    return f"{decimal_places(share * 100, 1)}{THIN}%"


def decimal(value: float) -> str:
    """A number in nats or the like, to three digits after the point while these say something."""
    if not math.isfinite(value):
        return "–"
    return decimal_places(value, 3 if abs(value) < 10 else 1)


def bracket(interval: Mapping[str, float], *, scale: float = 1.0, digits: int = 1) -> str:
    """The low and high end of an interval, `[93.0, 99.2]`."""
    low, high = (_end(interval[end] * scale, digits) for end in ("low", "high"))
    return f"[{low},{NO_BREAK}{high}]"


def change(value: float, digits: int) -> str:
    """A difference, always with its sign."""
    text = decimal_places(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def times(ratio: float) -> str:
    """How many times, to the precision that a measurement carries: `1.4`, `21`, `143`, `1,240`."""
    if not math.isfinite(ratio):
        return "–"
    if ratio < 10:
        return f"{ratio:.1f}"
    digits = max(0, math.floor(math.log10(ratio)) - 2)
    return f"{round(ratio, -digits):,.0f}"


def count(number: float) -> str:
    """A whole number with thousands set off."""
    return f"{int(number):,}"


def magnitude(number: float) -> str:
    """A large count in millions and so on, `134.5 M`."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{_three(number / size)}{THIN}{unit}"
    return f"{number:.0f}"


def size_bytes(number: float) -> str:
    """Bytes in decimal units, `5.2 MB`."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(number) >= size:
            return f"{_three(number / size)}{THIN}{unit}"
    return f"{number:.0f}{THIN}B"


def milliseconds(value: float) -> str:
    """Milliseconds to three digits; seconds above a thousand."""
    return f"{_three(value / 1000)}{THIN}s" if value >= 1000 else f"{_three(value)}{THIN}ms"


def rate(value: float) -> str:
    """Answers per second."""
    return _three(value) if value < 1000 else magnitude(value)


def duration(seconds: float) -> str:
    """A span of time, `3 min 20 s`."""
    if seconds < 60:
        return f"{seconds:.1f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes}{THIN}min" if hours else f"{minutes}{THIN}min {rest}{THIN}s"


def probability(p: float) -> str:
    """A p-value: three digits after the point, never a bare zero."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def shortened(text: str, limit: int) -> str:
    """The text, cut at `limit` characters with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def plural(number: int, word: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def plain(digits: int, *, scale: float = 1.0) -> Callable[[float], str]:
    """Writes numbers with fixed digits after the point, multiplied by `scale` before."""
    return lambda value: f"{scale * value:.{digits}f}"


def plain_count(number: float) -> str:
    """A large count, `27.0k`, `135M`."""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.0f}{unit}" if not unit or number >= 100 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.1f}B"


def plain_bytes(number: float) -> str:
    """A size in decimal units: `512 B`, `1.4 MB`, `540 MB`."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return (
                f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
            )
        number /= 1000
    return f"{number:.0f} GB" if number >= 100 else f"{number:.1f} GB"


def plain_times(ratio: float) -> str:
    """How many times: `12x`, `9.2x`; with a digit more where a whole number would hide which side
    is better, and by how much.
    """
    if ratio >= 10 or ratio == 1:
        return f"{ratio:.0f}x"
    return f"{ratio:.1f}x" if ratio >= 0.1 else f"{ratio:.2g}x"


def _end(value: float, digits: int) -> str:
    """An end of an interval: one that is near zero without being zero gets the digits to show on
    which side it lies.
    """
    return decimal_places(value, digits if abs(value) >= 0.5 * 10**-digits else digits + 1)


def _three(value: float) -> str:
    """About three significant digits without an exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 3)}f}"


def decimal_places(value: float, digits: int) -> str:
    """A number with fixed digits after the point, a true minus sign and no negative zero."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)
