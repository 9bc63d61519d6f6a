"""A matplotlib figure as inline SVG that takes its colours and letters from the page.

matplotlib writes fixed colours; a page that is light by day and dark by night needs names instead.
So figures are drawn in stand-in colours, one per name, and each is replaced by a CSS variable here.
Words of the user never enter matplotlib (its fonts lack most of the world's letters): `words` puts
them in afterwards, escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, HAIRLINE, PAPER = "#010203", "#020304", "#030405", "#040506"
"""Stand-in colours of text, quiet text, rules and background."""
SERIES = ("#0a0101", "#0a0202", "#0a0303", "#0a0404", "#0a0505", "#0a0606")
"""Stand-in colours of the students, in their order."""

MARKERS = ("o", "s", "^", "v", "P", "X")
"""One shape per student beside its colour, for readers who do not tell colours apart."""
TEACHER_MARKER = "D"

_NAMES = {INK: "ink", MUTED: "muted", HAIRLINE: "hairline", PAPER: "paper"} | {
    colour: f"series-{index + 1}" for index, colour in enumerate(SERIES)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": HAIRLINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": HAIRLINE,
    "grid.linewidth": 0.6,
    "xtick.color": HAIRLINE,
    "ytick.color": HAIRLINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def frame(
    width: int, height: int, *, left: int, right: int, top: int, bottom: int
) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; all lengths in CSS pixels."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        axes = figure.add_axes(
            (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
        )
        axes.tick_params(pad=5)
    return figure, axes


def inline_svg(
    figure: Figure, *, key: str, description: str, words: Mapping[str, str] | None = None
) -> Markup:
    """Write a figure as SVG to be placed in the page.

    Args:
        figure: The figure, one unit of its size in inches being 72 CSS pixels.
        key: Distinguishes the chart from the others on the page; identifiers carry it.
        description: What the chart shows, read out to those who cannot see it.
        words: Text by stand-in; each stand-in was drawn as a text of its own.

    Returns:
        The svg element, safe to insert.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": key}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\sxmlns(:\w+)?=\"[^\"]*\"", "", text).replace("xlink:href", "href")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\sid="(?!m[0-9a-f]{6}|p[0-9a-f]{6})[^"]*"', "", text)
    text = re.sub(r'id="', f'id="{key}-', text)
    text = re.sub(r'href="#', f'href="#{key}-', text)
    text = re.sub(r"url\(#", f"url(#{key}-", text)
    text = re.sub(r"(-?\d+\.\d\d)\d{3,}", r"\1", text)
    text = text.replace("'DejaVu Sans'", "var(--sans)")
    for colour, name in _NAMES.items():
        text = text.replace(colour, f"var(--{name})")
    width, height = (round(float(size) * 72) for size in figure.get_size_inches())
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    opening = f'<svg {size} role="img" aria-label="{escape(description)}" class="chart">'
    text = re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1)
    for stand_in, word in (words or {}).items():
        text = text.replace(stand_in, str(escape(word)))
    return Markup(re.sub(r"\n\s*", "\n", text))
