"""A recipe file as plain values, with the place in the file that each value came from.

Comes in: the path and the `--set` overrides. Goes out: nested dicts and lists, the line of every
key and item, and what is already wrong (a key given twice, a merge key, a number of more than 64
bits, an override that fits nowhere). A recipe is YAML 1.2 with the tags of JSON, and of bounded
size: whoever wrote it, reading it ends soon.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tutelage.config.nodes import (
    MOST_DEPTH,
    MOST_NODES,
    bounded_yaml,
    compose,
    place_of,
    read_text,
    sentence,
)
from tutelage.errors import Problem, RecipeError

Keys = tuple[str | int, ...]
"""The way from the root of a recipe to a value: keys of mappings and positions in lists."""

_LEAST_NUMBER, _MOST_NUMBER = -(2**63), 2**64 - 1
"""What numpy and torch can hold."""
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in (
        "map", "seq", "str", "null", "bool", "int", "float",
        "timestamp", "merge", "value",  # which plain text may look like
    )
)  # fmt: skip
_NO_TEXT = re.compile("[\ud800-\udfff]")


@dataclass
class Source:
    """The values of a recipe and where each stands."""

    values: dict[str, Any] = field(default_factory=dict)
    """The recipe as nested dicts, lists and scalars, overrides applied."""

    places: dict[Keys, str] = field(default_factory=dict)
    """For each key and list item the words that lead a person to it: `recipe.yaml:12` or
    `--set train.epochs`."""

    problems: list[Problem] = field(default_factory=list)
    """What was wrong before any meaning was looked at."""

    refused: set[Keys] = field(default_factory=set)
    """Where the values stand that cannot be at all; they read as None, and no more is to be said of
    them."""

    def at(self, *keys: str) -> Any:
        """The value at the end of some keys; None where the way to it ends before."""
        value: Any = self.values
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def where(self, keys: Keys) -> str:
        """The place of a value, or of the nearest thing around it that has a place.

        Args:
            keys: The way to the value; it need not exist.

        Returns:
            The place, for the front of a message.
        """
        for length in range(len(keys), -1, -1):
            if keys[:length] in self.places:
                return self.places[keys[:length]]
        return ""


def read_source(path: Path, *, overrides: Sequence[str] = ()) -> Source:
    """Read a recipe file and lay the overrides over it.

    Args:
        path: The recipe file, UTF-8.
        overrides: `KEY=VALUE` texts, KEY a dotted way from the root, VALUE written as YAML.

    Returns:
        The values, their places, and the problems found on the way.

    Raises:
        RecipeError: The file cannot be read as one YAML mapping, so nothing more can be said about
            it.
    """
    text = read_text(path)
    try:
        node = compose(text)
    except YAMLError as error:
        raise RecipeError([Problem(place_of(error, path), sentence(error))]) from None
    source = Source(places={(): f"{path}:1"})
    if node is not None:
        value = _Unfolding(source, path=path).value_of(node, ())
        if not isinstance(value, dict):
            message = (
                "a recipe is a mapping with the keys task, data, teacher, students; see `tutelage "
                "init`"
            )
            raise RecipeError([Problem(f"{path}:{node.start_mark.line + 1}", message)])
        source.values = value
    for override in overrides:
        _lay_over(source, override)
    return source


class _Unfolding:
    """Turns YAML nodes into values and writes down their lines."""

    def __init__(self, source: Source, *, path: Path | None = None, place: str = "") -> None:
        self._source = source
        self._path = path
        self._place = place
        self._above: set[int] = set()
        self._num_nodes = 0
        self._constructor = bounded_yaml().constructor

    def value_of(self, node: Node, keys: Keys) -> Any:
        self._num_nodes += 1
        if id(node) in self._above or self._num_nodes > MOST_NODES:
            raise RecipeError(
                [
                    Problem(
                        self._place_at(node),
                        "this alias contains itself or unfolds without end; write it out",
                    )
                ]
            )
        self._above.add(id(node))
        try:
            if node.tag is not None and str(node.tag) not in _TAGS:
                shown = str(node.tag).replace("tag:yaml.org,2002:", "!!")
                return self._refuse(
                    node, keys, f"the tag `{shown}` is not known here; write the plain value"
                )
            match node:
                case MappingNode():
                    return self._mapping(node, keys)
                case SequenceNode():
                    return [
                        self._item(item, (*keys, position))
                        for position, item in enumerate(node.value)
                    ]
                case _:
                    return self._usable(self._scalar(node), node, keys)
        finally:
            self._above.discard(id(node))

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._place_at(key_node)
            key = self._scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if isinstance(key_node, ScalarNode) and str(key_node.tag).endswith(":merge"):
                message = (
                    "`<<` merges keys in YAML 1.1 alone, and recipes are YAML 1.2: write the keys "
                    "out here, or give the whole mapping as `*name`"
                )
                self._source.problems.append(Problem(place, message))
                self._source.refused.add(keys)  # what may seem to be missing
            elif isinstance(key, str) and _NO_TEXT.search(key):
                self._refuse(key_node, (*keys, key), f"the key {key!r} {_WHY_NO_TEXT}")
            elif not isinstance(key, str):
                shown = f"`{key_node.value}`" if isinstance(key_node, ScalarNode) else "this key"
                self._source.problems.append(
                    Problem(place, f"{shown} is not text, as a key must be; put it in quotes")
                )
            elif key in mapping:
                first = self._source.places[*keys, key]
                self._source.problems.append(
                    Problem(place, f"`{key}` is given twice, first at {first}; keep one of them")
                )
            else:
                self._source.places[*keys, key] = place
                mapping[key] = self.value_of(value_node, (*keys, key))
        return mapping

    def _item(self, node: Node, keys: Keys) -> Any:
        self._source.places[keys] = self._place_at(node)
        return self.value_of(node, keys)

    def _scalar(self, node: Node) -> Any:
        try:
            match str(node.tag).rpartition(":")[2]:
                case "null":
                    return None
                case "bool":
                    return self._constructor.construct_yaml_bool(node)
                case "int":
                    return self._constructor.construct_yaml_int(node)
                case "float":
                    return self._constructor.construct_yaml_float(node)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            pass  # an explicit tag on a value that does not fit it: `!!int many`
        return node.value

    def _usable(self, value: Any, node: Node, keys: Keys) -> Any:
        """The value, unless it is one that nothing here can hold."""
        if isinstance(value, str) and _NO_TEXT.search(value):
            return self._refuse(node, keys, f"{dotted(keys)}: {value!r} {_WHY_NO_TEXT}")
        if type(value) is int and not _LEAST_NUMBER <= value <= _MOST_NUMBER:
            return self._refuse(
                node,
                keys,
                f"`{dotted(keys)}` is {node.value}, a whole number of more than 64 bits; expected "
                f"one from {_LEAST_NUMBER:,} to {_MOST_NUMBER:,}",
            )
        return value

    def _refuse(self, node: Node, keys: Keys, message: str) -> None:
        self._source.problems.append(Problem(self._place_at(node), message))
        self._source.refused.add(keys)

    def _place_at(self, node: Node) -> str:
        return self._place or f"{self._path}:{node.start_mark.line + 1}"


_WHY_NO_TEXT = "holds half of a character (a surrogate), which is no text; write it without"


def dotted(keys: Keys) -> str:
    """The way to a value as people write it."""
    return ".".join(str(key) for key in keys)


def _lay_over(source: Source, override: str) -> None:
    key_text, equals, value_text = override.partition("=")
    place = f"--set {key_text}"
    keys = tuple(key_text.strip().split("."))
    if not equals or not all(keys) or len(keys) > MOST_DEPTH:
        source.problems.append(
            Problem(f"--set {override}", "expected KEY=VALUE, such as --set train.epochs=3")
        )
        return
    parent: Any = source.values
    for depth, key in enumerate(keys[:-1], start=1):
        if parent.get(key) is None:
            parent[key] = {}
            source.places[keys[:depth]] = place
        parent = parent[key]
        if not isinstance(parent, dict):
            message = (
                f"`{dotted(keys[:depth])}` holds {parent!r}, which has no keys; set it as a whole"
            )
            source.problems.append(Problem(place, message))
            return
    try:
        node = compose(value_text)
    except YAMLError as error:
        source.problems.append(Problem(place, sentence(error)))
        return
    for known in [known for known in source.places if known[: len(keys)] == keys]:
        del source.places[known]
    source.places[keys] = place
    parent[keys[-1]] = (
        None if node is None else _Unfolding(source, place=place).value_of(node, keys)
    )
