"""The options of training: the ranges of a recipe, and what a checkpoint is named after."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from tutelage.runs import fingerprint
from tutelage.train.settings import LanguageTrainSettings, TrainSettings


def test_they_import_without_torch_and_accelerate() -> None:
    code = (
        "import sys, tutelage.train.settings; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'accelerate', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_checkpoints_are_named_after_them_as_ever() -> None:
    """A run that was stopped before options moved is gone on from."""
    assert fingerprint(TrainSettings()) == "6800af4242f6f2e9"
    assert fingerprint(LanguageTrainSettings(precision="float32")) == "d107053cabca236c"


@pytest.mark.parametrize("spec", [TrainSettings, LanguageTrainSettings])
def test_every_default_is_within_its_range(spec: Any) -> None:
    hints = get_type_hints(spec, include_extras=True)
    bounded = 0
    for option in fields(spec):
        assert option.default is not MISSING, option.name
        for bound in bounds(hints[option.name]):
            bounded += 1
            if option.default is None:
                continue
            for word, holds in RELATIONS.items():
                if hasattr(bound, word):
                    assert holds(option.default, getattr(bound, word)), option.name
    assert bounded > 10


RELATIONS = {
    "ge": lambda value, limit: value >= limit,
    "gt": lambda value, limit: value > limit,
    "le": lambda value, limit: value <= limit,
    "lt": lambda value, limit: value < limit,
}


def bounds(hint: Any) -> list[Any]:
    if get_origin(hint) is Annotated:
        return list(get_args(hint)[1:])
    return [bound for part in get_args(hint) for bound in bounds(part)]


def test_a_recipe_says_once_when_to_stop() -> None:
    LanguageTrainSettings(token_budget=100).check_together()
    LanguageTrainSettings(epochs=3).check_together()
    with pytest.raises(ValueError, match=r"epochs \(3\) and token_budget \(1,000\) both say when"):
        LanguageTrainSettings(epochs=3, token_budget=1000).check_together()
