"""A recipe file as YAML nodes, read within bounds.

In: a path, or the text of an override. Out: nodes that know their line, or what is wrong in words
that name it. A file larger or deeper than any recipe is not read on.
"""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import Node

from tutelage.errors import Problem, RecipeError

_MOST_BYTES = 4 << 20
MOST_NODES = 100_000
"""Enough for any recipe; a file of nested aliases would otherwise unfold without end."""
MOST_DEPTH = 50
"""Mappings and lists inside each other; a recipe has some five."""
_VERSION = re.compile(r"^%YAML(?![ \t]+1\.2[ \t\r]*$)", re.MULTILINE)
_NOT_THE_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
"""What the system answers where another file would not be read either."""


class _BoundedComposer(Composer):
    """Ends where a document is larger or deeper than any recipe."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # an anchor may be used again
        self._num_nodes = 0
        self._num_above = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._num_nodes += 1
        self._num_above += 1
        if self._num_nodes > MOST_NODES or self._num_above > MOST_DEPTH:
            wrong = (
                f"these are more than {MOST_NODES:,} values, which no recipe needs"
                if self._num_nodes > MOST_NODES
                else f"this is nested more than {MOST_DEPTH} deep, which no recipe needs"
            )
            raise _TooLarge(problem=wrong, problem_mark=self.parser.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._num_above -= 1


class _TooLarge(MarkedYAMLError):
    """Valid YAML, but no recipe."""


def bounded_yaml() -> YAML:
    """A reader of YAML 1.2 that ends where a document is larger or deeper than any recipe."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _BoundedComposer
    return yaml


def compose(text: str) -> Node | None:
    """A YAML text as nodes.

    Raises:
        YAMLError: It is not valid, whichever way the library noticed.
    """
    if found := _VERSION.search(text.partition("\n---")[0]):
        line = text.count("\n", 0, found.start())
        raise MarkedYAMLError(
            problem="recipes are YAML 1.2: remove this directive",
            problem_mark=StringMark("", found.start(), line, 0, None, 0),
        )
    try:
        return bounded_yaml().compose(text)
    except YAMLError:
        raise
    except Exception as error:  # such as ValueError for the escape of a character that there is not
        raise YAMLError(str(error) or type(error).__name__) from None


def read_text(path: Path) -> str:
    """The text of a recipe file.

    Raises:
        RecipeError: It is no file, too large, cannot be read, or is not UTF-8.
    """
    raw = _read_bytes(path)
    if len(raw) > _MOST_BYTES:
        raise RecipeError(
            [
                Problem(
                    str(path),
                    f"this is no recipe: it has more than {_MOST_BYTES:,} bytes; give a recipe "
                    "file, and data as files that it names",
                )
            ]
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        message = (
            f"byte {error.start} is not UTF-8 (0x{raw[error.start]:02x}); save the recipe as UTF-8"
        )
        raise RecipeError([Problem(f"{path}:{line}", message)]) from None


def _read_bytes(path: Path) -> bytes:
    """The bytes of a file, one more than a recipe may have at most."""
    try:
        # Of what is no file, only what the caller's shell has opened for us ends for sure.
        streams = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
        if path.is_dir():
            message = "this is a folder; expected a recipe file such as recipe.yaml"
            raise RecipeError([Problem(str(path), message)])
        if path.exists() and not path.is_file() and not str(path).startswith(streams):
            message = "this is a pipe or a device; expected a recipe file such as recipe.yaml"
            raise RecipeError([Problem(str(path), message)])
        with path.open("rb") as file:
            return file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise RecipeError(
            [Problem(str(path), "no such file; write one with: tutelage init " + str(path))]
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        if isinstance(error, OSError) and error.errno in _NOT_THE_FILES:
            raise
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise RecipeError([Problem(str(path), f"the file cannot be read: {said}")]) from None


def place_of(error: YAMLError, path: Path) -> str:
    """File and line of an error."""
    mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
    return str(path) if mark is None else f"{path}:{mark.line + 1}"


def sentence(error: YAMLError) -> str:
    """What is wrong, and what to do."""
    if isinstance(error, MarkedYAMLError):
        said = ", ".join(part for part in (error.context, error.problem) if part)
    else:
        said = (str(error).splitlines() or [""])[0]
    if isinstance(error, _TooLarge):
        return f"{said}; give a recipe, and data as files that it names"
    return (
        f"not valid YAML: {said}; check the indentation, and quote text that holds any of : # {{ "
        f"}} [ ] , & * ! | > % @"
    )
