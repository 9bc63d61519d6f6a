"""Sections of a recipe made from the frozen specs that stand beside what they configure.

In: a frozen dataclass, each option of which is declared there once: its name, its type with bounds
(`Annotated[int, Ge(1)]`), its default, and what it means in a string right under it. Out: the
pydantic class that reads the same options from a recipe, as strict as every other section, and that
gives the spec back. Specs import neither torch nor pydantic.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, create_model, model_validator

from tutelage.config.ranges import annotations_of
from tutelage.config.values import FrozenList, Section, refusal


def section(
    spec: type,
    *,
    name: str | None = None,
    kind: str | None = None,
    omit: Collection[str] = (),
    base: type[Section] = Section,
    extra: Mapping[str, Any] | None = None,
    own_first: bool = True,
) -> type[Any]:
    """The section of a recipe that holds the options of a spec.

    The class has the fields that `base` declares, then `kind`, then the options of the spec,
    with their types, bounds and defaults; it is described by the first paragraph of
    the spec's docstring, its keys by the strings under the fields (`field_notes`). What the method
    `check_together` of the spec refuses is told at the section's line. It is used as it is, or as
    the base of a class that adds keys, validators or a docstring of its own:

        class Train(section(TrainSettings)): ...

    Args:
        spec: A frozen dataclass.
        name: Of the class; it is part of the JSON schema and of fingerprints. None: the spec's.
        kind: The word that chooses this section among alternatives; None: there are none.
        omit: Options that a recipe does not say, such as those that come from other sections.
        base: What every section of this sort has besides. Options that it declares are its own.
        extra: Keys to add, or options whose type in a recipe is another: a type (the default stays
            that of the spec), or a type and a default. A nested spec is given as its own section.
        own_first: Whether the options that the spec itself declares come first, in the order in
            which it does, then those that it inherits. The order is that in which a recipe is
            written out, and a run belongs to its recipe's text.

    Returns:
        The class. `made.spec(**more)` is the spec with the values of the section, and `more` for
        what it omits.

    Example:
        >>> from dataclasses import dataclass
        >>> from annotated_types import Ge
        >>> @dataclass(frozen=True)
        ... class Shape:
        ...     width: Annotated[int, Ge(1)] = 8
        >>> section(Shape, kind="plain").model_validate({"kind": "plain", "width": 4}).spec()
        Shape(width=4)
    """
    others = dict(extra or {})
    made: dict[str, Any] = {} if kind is None else {"kind": (Literal[kind], ...)}
    own = list(vars(spec).get("__annotations__", ())) if own_first else []
    order = {key: place for place, key in enumerate(own)}
    for option in sorted(fields(spec), key=lambda one: order.get(one.name, len(own))):
        key = option.name
        if not option.init or key in omit or (key in base.model_fields and key not in others):
            continue
        given = others.pop(key, annotations_of(spec)[key])
        made[key] = given if isinstance(given, tuple) else (_readable(given), _default(option))
    made |= others
    validators: dict[str, Any] = {}
    if hasattr(spec, "check_together"):
        validators["agrees"] = model_validator(mode="after")(_told_by(spec))
    model = create_model(
        name or spec.__name__,
        __base__=base,
        __module__=spec.__module__,
        __doc__=_first_paragraph(spec),
        __validators__=validators,
        **made,
    )
    model.spec_class = spec
    return model


def one_of(*sections: type[Section]) -> Any:
    """The type of a key that holds one of several sections, chosen by their `kind`."""
    return Annotated[Union[sections], Field(discriminator="kind")]  # noqa: UP007


def field_notes(model: type) -> dict[str, str]:
    """What each key of a section means: the strings under its fields, or under those of its spec.

    Read from the source on demand; pydantic would do it at every import.

    Args:
        model: A section, or a dataclass.

    Returns:
        Sentences by key. A class's own word counts above that of the classes it is made from.
    """
    notes: dict[str, str] = {}
    for one in reversed(model.__mro__):
        spec = vars(one).get("spec_class")
        if spec is not None:
            notes |= field_notes(spec)
        elif one is not Section and one.__module__.partition(".")[0] != "pydantic":
            notes |= _notes_in_source(one)
    return notes


def _notes_in_source(model: type) -> dict[str, str]:
    if not vars(model).get("__annotations__"):
        return {}
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    notes = {}
    for field, note in zip(body.body, body.body[1:], strict=False):
        match field, note:
            case (
                ast.AnnAssign(target=ast.Name(id=key)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                notes[key] = " ".join(text.split())
    return notes


def _first_paragraph(spec: type) -> str:
    return inspect.cleandoc(spec.__doc__ or "").partition("\n\n")[0]


def _default(option: Any) -> Any:
    if option.default_factory is not MISSING:
        return Field(default_factory=option.default_factory)
    return ... if option.default is MISSING else option.default


def _readable(annotation: Any) -> Any:
    """The same type, where it is a tuple also read from a list."""
    return Annotated[annotation, FrozenList] if _is_tuple(annotation) else annotation


def _is_tuple(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_tuple(get_args(annotation)[0])
    is_union = origin is not None and origin is not Literal and type(None) in get_args(annotation)
    return origin is tuple or (is_union and any(map(_is_tuple, get_args(annotation))))


def _told_by(spec: Any) -> Callable[[Any], Any]:
    """A validator that says what the spec says of options that do not go together."""

    def agrees(self: Any) -> Any:
        # The recipe may leave out what a whole spec needs, so `__init__` is not gone through.
        partial = object.__new__(spec)
        for option in fields(spec):
            if option.default is not MISSING:
                object.__setattr__(partial, option.name, option.default)
        for key, value in self.spec_values().items():
            object.__setattr__(partial, key, value)
        try:
            partial.check_together()
        except ValueError as error:
            raise refusal(str(error)) from None
        return self

    return agrees
