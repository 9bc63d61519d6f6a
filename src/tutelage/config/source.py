"""A recipe file as plain values, with the place in the file that each value came from.

Comes in: the path and the `--set` overrides. Goes out: nested dicts and lists, the line of every
key and item, and what is already wrong (a key given twice, an override that fits nowhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tutelage.errors import Problem, RecipeError

Keys = tuple[str | int, ...]
"""The way from the root of a recipe to a value: keys of mappings and positions in lists."""

_MOST_NODES = 100_000
"""Enough for any recipe; a file of nested aliases would otherwise unfold without end."""


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
    text = _read_text(path)
    try:
        node = _yaml().compose(text)
    except YAMLError as error:
        raise RecipeError([Problem(_place_of(error, path), _sentence(error))]) from None
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


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise RecipeError(
            [Problem(str(path), "this is a folder; expected a recipe file such as recipe.yaml")]
        )
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise RecipeError(
            [Problem(str(path), "no such file; write one with: tutelage init " + str(path))]
        ) from None
    except OSError as error:
        raise RecipeError(
            [Problem(str(path), f"the file cannot be read: {error.strerror}")]
        ) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = (
            f"byte {error.start} is not UTF-8 (0x{raw[error.start]:02x}); save the recipe as UTF-8"
        )
        raise RecipeError([Problem(f"{path}:{line}", message)]) from None


def _place_of(error: YAMLError, path: Path) -> str:
    mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
    return str(path) if mark is None else f"{path}:{mark.line + 1}"


def _sentence(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError):
        said = ", ".join(part for part in (error.context, error.problem) if part)
    else:
        said = str(error).splitlines()[0]
    return (
        f"not valid YAML: {said}; check the indentation, and quote text that holds any of : # {{ "
        f"}} [ ] , & * ! | > % @"
    )


class _Unfolding:
    """Turns YAML nodes into values and writes down their lines."""

    def __init__(self, source: Source, *, path: Path | None = None, place: str = "") -> None:
        self._source = source
        self._path = path
        self._place = place
        self._above: set[int] = set()
        self._num_nodes = 0
        self._constructor = _yaml().constructor

    def value_of(self, node: Node, keys: Keys) -> Any:
        self._num_nodes += 1
        if id(node) in self._above or self._num_nodes > _MOST_NODES:
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
            match node:
                case MappingNode():
                    return self._mapping(node, keys)
                case SequenceNode():
                    return [
                        self._item(item, (*keys, position))
                        for position, item in enumerate(node.value)
                    ]
                case _:
                    return self._scalar(node)
        finally:
            self._above.discard(id(node))

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._place_at(key_node)
            key = self._scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
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
        except (
            ValueError,
            KeyError,
        ):  # an explicit tag on a value that does not fit it: `!!int many`
            pass
        return node.value

    def _place_at(self, node: Node) -> str:
        return self._place or f"{self._path}:{node.start_mark.line + 1}"


def _lay_over(source: Source, override: str) -> None:
    key_text, equals, value_text = override.partition("=")
    place = f"--set {key_text}"
    keys = tuple(key_text.strip().split("."))
    if not equals or not all(keys):
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
                f"`{'.'.join(keys[:depth])}` holds {parent!r}, which has no keys; set it as a whole"
            )
            source.problems.append(Problem(place, message))
            return
    try:
        node = _yaml().compose(value_text)
    except YAMLError as error:
        source.problems.append(Problem(place, _sentence(error)))
        return
    for known in [known for known in source.places if known[: len(keys)] == keys]:
        del source.places[known]
    source.places[keys] = place
    parent[keys[-1]] = (
        None if node is None else _Unfolding(source, place=place).value_of(node, keys)
    )
