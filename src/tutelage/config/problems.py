"""From what pydantic found wrong to sentences a person can act on, each with its place in the
recipe.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from tutelage.config.source import Keys, Source
from tutelage.config.values import REFUSED
from tutelage.errors import Problem, nearest, one_line

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list, such as [a, b]",
    "mapping_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "none_required": "null",
}


_MISSING = ("missing", "union_tag_not_found")


def in_words(
    errors: list[Any],
    source: Source,
    *,
    recipe: type[BaseModel],
    words: Mapping[Keys, Sequence[str]] | None = None,
) -> list[Problem]:
    """Put every validation error into words and at its place.

    Args:
        errors: What `ValidationError.errors()` gave for the recipe.
        source: The recipe as it was read, with the places.
        recipe: The class that the values were checked against.
        words: What may stand at some keys beyond what this class knows, such as other tasks.

    Returns:
        One problem for each error but those about values that the source refused already, in the
        order of the file.
    """
    problems = []
    for error in errors:
        keys = _keys_of(error["loc"], source.values, recipe)
        # A key that is missing may be what a merge key was to bring.
        ways = (keys, keys[:-1]) if error["type"] in _MISSING else (keys,)
        if source.refused.isdisjoint(ways):
            problems.append(_in_words(error, source, recipe, words or {}))
    return problems


def _in_words(
    error: Mapping[str, Any],
    source: Source,
    recipe: type[BaseModel],
    words: Mapping[Keys, Sequence[str]],
) -> Problem:
    keys = _keys_of(error["loc"], source.values, recipe)
    where, name = source.where(keys), ".".join(str(key) for key in keys)
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return Problem(
                where,
                _unknown_key(keys, known=_known_keys(error["loc"][:-1], recipe), recipe=recipe),
            )
        case "missing":
            return Problem(where, f"`{name}` is missing; {_missing_hint(keys, recipe, words)}")
        case "union_tag_not_found":
            tag = context["discriminator"].strip("'")
            return Problem(
                where,
                f"`{name}` has no `{tag}`; expected one of "
                f"{', '.join(_tags(error['loc'], recipe))}",
            )
        case "union_tag_invalid":
            tag = context["discriminator"].strip("'")
            known = _tags(error["loc"], recipe)
            return Problem(
                source.where((*keys, tag)), _not_one_of(f"{name}.{tag}", context["tag"], known)
            )
        case "literal_error":
            known = [
                word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")
            ]
            known = [{"True": "true", "False": "false"}.get(word, word) for word in known]
            known = list(words.get(keys, known))
            return Problem(where, _not_one_of(name, error["input"], known))
        case kind if kind == REFUSED:
            return Problem(where, f"`{name}`: {error['msg']}")
        case kind if kind in _EXPECTED:
            return Problem(
                where,
                f"`{name}` is {_shown(error['input'])}; expected {_EXPECTED[kind]}{_cure(error)}",
            )
        case _:
            said = error["msg"].removeprefix("Input should be ").removeprefix("Value should be ")
            return Problem(
                where, f"`{name}` is {_shown(error['input'])}; expected {_wording(said)}"
            )


def _wording(said: str) -> str:
    if "at least 1 " in said and ("item" in said or "character" in said):
        return "at least one entry"
    return (
        f"a number {said}" if said.startswith(("greater", "less")) else said[:1].lower() + said[1:]
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = "nothing (null)" if value is None else one_line(repr(value), most=200)
    return text if len(text) <= 60 else text[:57] + "..."


def _cure(error: Mapping[str, Any]) -> str:
    value = error["input"]
    if error["type"] == "string_type" and isinstance(value, (bool, int, float)):
        return f'; put it in quotes: "{_shown(value)}"'
    if error["type"] in ("int_type", "float_type", "bool_type") and isinstance(value, str):
        return (
            " without quotes"
            if value.replace(".", "", 1).isdigit() or value in ("true", "false")
            else ""
        )
    return ""


def _not_one_of(name: str, value: object, known: list[str]) -> str:
    guess = nearest(value, known) if isinstance(value, str) else None
    meant = f"; did you mean `{guess}`?" if guess else ""
    return f"`{name}` is {_shown(value)}; expected one of {', '.join(known)}{meant}"


def _unknown_key(keys: Keys, *, known: list[str], recipe: type[BaseModel]) -> str:
    key, section = str(keys[-1]), ".".join(str(one) for one in keys[:-1])
    inside = f" in `{section}`" if section else ""
    guess = nearest(key, known)
    if guess:
        return f"unknown key `{key}`{inside}; did you mean `{guess}`?"
    elsewhere = [
        name
        for name in recipe.model_fields
        if name != section and key in _known_keys((name,), recipe)
    ]
    if elsewhere:
        return f"unknown key `{key}`{inside}; it belongs in `{elsewhere[0]}`"
    return f"unknown key `{key}`{inside}; known here: {', '.join(known)}"


def _missing_hint(keys: Keys, recipe: type[BaseModel], words: Mapping[Keys, Sequence[str]]) -> str:
    match keys:
        case ("task",):
            return "expected task: {kind: classification, labels: [...]} or task: {kind: causal_lm}"
        case ("task", "labels"):
            return "expected the class names, such as [negative, positive]"
        case ("data",):
            return "expected data: {train: FILE, test: FILE}"
        case ("data", "train"):
            return "expected a csv, tsv, jsonl or parquet file"
        case ("data", "test"):
            return "expected a file, or a share of train such as 0.2"
        case ("teacher",):
            return f"expected teacher: {{kind: {' or '.join(_tags(keys, recipe))}, model: ...}}"
        case (*_, "model"):
            return "expected a folder, a .gguf file, a hub id, or package:NAME"
        case ("students",):
            return "expected at least one student, such as students: {small: {kind: rnn}}"
        case (*_, "kind"):
            known = words.get(keys) or _tags(keys[:-1], recipe)
            return f"expected kind: {' or '.join(known)}" if known else "say which kind"
        case _:
            return "it has no default"


def _keys_of(loc: Keys, values: Any, recipe: type[BaseModel]) -> Keys:
    """The way through the recipe that an error's location means: tags of alternatives are not
    keys.
    """
    keys: list[str | int] = []
    for position, element in enumerate(loc):
        found = _inside(values, element)
        if found is not None:
            keys.append(element)
            values = found[0]
        elif position == len(loc) - 1 and isinstance(values, dict) and element != "[key]":
            keys += [] if element in _tags(loc[:-1], recipe) else [element]
    return tuple(keys)


def _inside(values: Any, element: str | int) -> tuple[Any] | None:
    if isinstance(values, dict) and element in values:
        return (values[element],)
    if isinstance(values, list) and isinstance(element, int) and element < len(values):
        return (values[element],)
    return None


def _options(annotation: Any) -> list[Any]:
    """The alternatives an annotation allows, with `Annotated` and unions taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [option for part in get_args(annotation) for option in _options(part)]
    return [annotation]


def _tag(model: Any) -> str | None:
    """The word that chooses this alternative, or None where there is nothing to choose."""
    for key in ("kind", "method"):
        field = (
            model.model_fields.get(key)
            if isinstance(model, type) and issubclass(model, BaseModel)
            else None
        )
        if field is not None and get_origin(field.annotation) is Literal:
            return get_args(field.annotation)[0]
    return None


def _annotation_at(loc: tuple[str | int, ...], recipe: type[BaseModel]) -> Any:
    """What the recipe's classes say about the value at an error's location."""
    annotation: Any = recipe
    for element in loc:
        annotation = _step(_options(annotation), element)
    return annotation


def _step(options: list[Any], element: str | int) -> Any:
    models = [
        option for option in options if isinstance(option, type) and issubclass(option, BaseModel)
    ]
    if len(models) > 1:
        return next((model for model in models if _tag(model) == element), None)
    if models:
        field = models[0].model_fields.get(str(element))
        return None if field is None else field.annotation
    inner = [
        get_args(option)
        for option in options
        if get_args(option) and get_origin(option) is not Literal
    ]
    if not inner:
        return None
    return inner[0][0] if isinstance(element, int) else inner[0][-1]


def _known_keys(loc: tuple[str | int, ...], recipe: type[BaseModel]) -> list[str]:
    found = _options(_annotation_at(loc, recipe))
    models = [one for one in found if isinstance(one, type) and issubclass(one, BaseModel)]
    return list(models[0].model_fields) if len(models) == 1 else []


def _tags(loc: tuple[str | int, ...], recipe: type[BaseModel]) -> list[str]:
    return [tag for option in _options(_annotation_at(loc, recipe)) if (tag := _tag(option))]
