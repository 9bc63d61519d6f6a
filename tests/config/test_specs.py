"""Sections made from frozen specs: as strict as written ones, described by the spec, giving it
back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import Field, ValidationError

from tutelage.config.ranges import check_options, check_values
from tutelage.config.specs import field_notes, section
from tutelage.config.values import Overrides, Section


@dataclass(frozen=True)
class Adapters:
    """Low-rank additions."""

    rank: Annotated[int, Ge(1)] = 16
    """The rank of each."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """A small network.

    Example:
        nothing of this is said in the schema.
    """

    labels: tuple[str, ...]
    """Class names."""

    width: Annotated[int, Ge(1)] = 8
    """The width, in
    words of two lines."""

    heads: Annotated[int, Ge(1)] | None = None
    """Attention heads."""

    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """A share."""

    cell: Literal["gru", "lstm"] = "gru"
    """The cell."""

    sides: tuple[Literal["mean", "last"], ...] = ("mean",)
    """Some words."""

    notes: Annotated[str, MinLen(1)] | None = None
    """A text."""

    adapters: Adapters | None = None
    """Additions."""

    counts: dict[str, int] = field(default_factory=dict)
    """Made anew."""

    def __post_init__(self) -> None:
        check_options(self)

    def check_together(self) -> None:
        if self.heads is not None and self.width % self.heads:
            raise ValueError(f"width {self.width} and heads {self.heads}; change one of them")


class Common(Section):
    """What all say."""

    kind: str
    """The kind."""

    max_length: int = Field(default=128, ge=2)
    """Tokens."""


AdaptersSection: Any = section(Adapters, name="AdaptersSpec")
NetSection: Any = section(
    Net,
    name="NetSpec",
    kind="net",
    omit=("labels",),
    base=Common,
    extra={"adapters": (AdaptersSection | None, None)},
)


class Own(section(Net, omit=("labels", "adapters"))):
    """A class of its own."""

    width: int = 3
    """Another width."""

    more: int = 1
    """A key more."""


def read(**values: Any) -> Any:
    return NetSection.model_validate({"kind": "net", **values})


def message(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        read(**values)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['type']}: {error['msg']}"


def test_a_section_has_the_name_order_defaults_and_words_of_its_spec() -> None:
    assert (NetSection.__name__, NetSection.__doc__) == ("NetSpec", "A small network.")
    assert list(read().model_dump()) == [
        "kind", "max_length", "width", "heads", "dropout", "cell", "sides", "notes", "adapters",
        "counts",
    ]  # fmt: skip
    assert read().dropout == Net(labels=()).dropout
    assert field_notes(NetSection) == {
        "labels": "Class names.",
        "kind": "The kind.",
        "max_length": "Tokens.",
        "width": "The width, in words of two lines.",
        "heads": "Attention heads.",
        "dropout": "A share.",
        "cell": "The cell.",
        "sides": "Some words.",
        "notes": "A text.",
        "adapters": "Additions.",
        "counts": "Made anew.",
    }


def test_a_section_gives_its_spec_back() -> None:
    made = read(width=6, heads=3, sides=["mean", "last"], adapters={"rank": 2}).spec(labels=("a",))
    assert made == Net(
        labels=("a",), width=6, heads=3, sides=("mean", "last"), adapters=Adapters(rank=2)
    )
    assert isinstance(made, Net)


def test_a_class_may_be_based_on_a_section() -> None:
    own = Own.model_validate({"more": 2})
    assert (own.spec(labels=()).width, own.more) == (3, 2)
    notes = field_notes(Own)
    assert (notes["width"], notes["more"], notes["cell"]) == (
        "Another width.", "A key more.", "The cell.",
    )  # fmt: skip
    assert Own.model_json_schema()["description"] == "A class of its own."


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"width": 0}, "width: greater_than_equal"),
        ({"width": 1.5}, "width: int_type"),
        ({"width": "8"}, "width: int_type"),
        ({"dropout": 1.0}, "dropout: less_than"),
        ({"dropout": float("nan")}, "dropout: finite_number"),
        ({"cell": "rnn"}, "cell: literal_error"),
        ({"wdith": 3}, "wdith: extra_forbidden"),
        ({"notes": ""}, "notes: string_too_short"),
        ({"adapters": {"rank": 0}}, "adapters.rank: greater_than_equal"),
        ({"labels": ["a"]}, "labels: extra_forbidden"),
        ({"heads": 3}, ": recipe_refused: width 8 and heads 3; change one of them"),
    ],
)
def test_a_section_is_strict(values: dict[str, Any], expected: str) -> None:
    assert message(**values).startswith(expected)


def test_sections_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read().width = 3


def test_overrides_hold_what_was_given() -> None:
    made: Any = section(Net, name="NetOverrides", omit=("labels", "adapters"), base=Overrides)
    assert made.model_validate({"width": 8}).model_dump() == {"width": 8}
    assert made.model_validate({"width": 8}).given() == {"width": 8}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"width": 0}, "width is 0: expected a whole number of at least 1"),
        ({"width": 2.0}, "width is 2.0: expected a whole number of at least 1"),
        ({"width": True}, "width is True: expected a whole number of at least 1"),
        ({"heads": 0}, "heads is 0: expected a whole number of at least 1 or None"),
        ({"dropout": 1}, "dropout is 1: expected a number of at least 0 and below 1"),
        ({"dropout": float("nan")}, "dropout is nan: expected a number of at least 0 and below 1"),
        ({"cell": "rnn"}, "cell is 'rnn': expected one of gru, lstm"),
        ({"notes": ""}, "notes is '': expected text that is not empty or None"),
        ({"heads": 3}, "width 8 and heads 3; change one of them"),
    ],
)
def test_a_spec_refuses_the_same_in_python(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        Net(labels=(), **values)


def test_values_are_held_against_a_spec_without_one() -> None:
    @dataclass
    class Above:
        share: Annotated[float, Gt(0)]

    check_values(Net, {"width": 2, "heads": None})
    check_values(Above, {"share": 1})
    with pytest.raises(ValueError, match="share is 0: expected a number above 0"):
        check_values(Above, {"share": 0})
