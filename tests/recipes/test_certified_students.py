"""Who is certified, and where the certificate of an export may lie."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

import tutelage_runtime.session
from tutelage.errors import ModelError
from tutelage.recipes.certified_students import _exported


@pytest.mark.parametrize("name", ["../gru", "/gru", "..", ""])
def test_the_name_of_an_export_leads_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its certificate is written into a folder of this name."""
    loaded = SimpleNamespace(
        question=SimpleNamespace(labels=("a", "b")), bundle=SimpleNamespace(name=name)
    )
    monkeypatch.setattr(tutelage_runtime.session, "load", lambda folder: loaded)
    with pytest.raises(ModelError, match="names its student"):
        _exported(Path("onnx"), ["a", "b"], None)
