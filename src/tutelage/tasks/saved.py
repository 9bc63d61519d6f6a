"""What a saved model says of itself, to tell whose student it is; without torch."""

from __future__ import annotations

import json
from pathlib import Path

CONFIG_FILE = "config.json"
"""What every folder in the `save_pretrained` layout holds."""


def architectures(folder: Path) -> list[str]:
    """The classes that a folder in the `save_pretrained` layout names; none where it is not one."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        return []
    return list(json.loads(path.read_text("utf-8")).get("architectures") or ())
