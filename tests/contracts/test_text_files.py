"""Text files are UTF-8 whatever the terminal speaks, so every call that opens one says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tutelage

SOURCES = sorted(Path(tutelage.__file__).parent.rglob("*.py"))
TEXT_AS_BYTES = {"run", "Popen", "check_output", "check_call"}
"""Calls of `subprocess`, which decode what a process says if `text=True`."""


def says_encoding(call: ast.Call, place: int) -> bool:
    """Whether an encoding is given by name, or as the positional argument at its place."""
    return any(one.arg == "encoding" for one in call.keywords) or len(call.args) > place


def without_encoding(tree: ast.AST) -> list[int]:
    """Lines of calls that read or write text in the encoding of the terminal."""
    found = []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        is_method = isinstance(call.func, ast.Attribute)
        name = call.func.attr if is_method else getattr(call.func, "id", "")
        keywords = {one.arg: one.value for one in call.keywords}
        match name:
            case "read_text":
                wrong = not says_encoding(call, 0)
            case "write_text":
                wrong = not says_encoding(call, 1)
            case "open" | "fdopen" | "NamedTemporaryFile" | "TemporaryFile" | "TextIOWrapper":
                place = 0 if is_method and name == "open" else 1
                mode = keywords.get("mode") or (
                    call.args[place] if len(call.args) > place else None
                )
                text = ast.literal_eval(mode) if isinstance(mode, ast.Constant) else ""
                is_file = mode is not None and set(text) <= set("rwaxbt+")
                is_text = ("b" not in text and (is_file or not call.args)) or (
                    name == "open" and not is_method
                )
                wrong = (
                    is_text
                    and "b" not in text
                    and not says_encoding(call, 3 if name == "open" else 9)
                )
                wrong = wrong and not (name == "open" and _opens_another_thing(call))
            case _ if name in TEXT_AS_BYTES:
                wrong = (
                    "text" in keywords or "universal_newlines" in keywords
                ) and not says_encoding(call, 99)
            case _:
                wrong = False
        if wrong:
            found.append(call.lineno)
    return found


def _opens_another_thing(call: ast.Call) -> bool:
    """Archives, stores and the journal have an `open` of their own, and so has the system."""
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return isinstance(owner, ast.Name) and owner.id in (
        "os", "tarfile", "zipfile", "TargetStore", "TargetWriter", "wheel", "journal", "self",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "is_refused"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, 'utf-8')", False),
        ("open(path)", True),
        ("open(path, 'rb')", False),
        ("path.open()", True),
        ("path.open('w')", True),
        ("path.open('a+', encoding='utf-8')", False),
        ("path.open('wb')", False),
        ("TargetStore.open(path)", False),
        ("os.open(path, flags)", False),
        ("os.fdopen(handle, 'w')", True),
        ("subprocess.run(words, text=True)", True),
        ("subprocess.run(words, text=True, encoding='utf-8')", False),
        ("subprocess.run(words)", False),
    ],
)
def test_the_rule_itself(code: str, is_refused: bool) -> None:
    assert bool(without_encoding(ast.parse(code))) is is_refused


def test_every_text_file_is_utf_8() -> None:
    found = [
        f"{path}:{line}"
        for path in SOURCES
        for line in without_encoding(ast.parse(path.read_text("utf-8")))
    ]
    assert found == []
