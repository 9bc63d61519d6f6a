"""What a model is, told from its headers: for an estimate before anything is loaded.

In: a model's name as a recipe writes it. Out: a `ModelFacts`.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import ModelError
from tutelage.teachers.loading import locate
from tutelage.teachers.weights import file_sha256, models_folder


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Size of a model."""

    parameters: int
    """Number of weights; 0 for a hub model that is not here yet."""
    disk_bytes: int
    """Size of its weight files here; 0 for a hub model."""
    needs_conversion: bool
    """True for a GGUF file whose float32 copy has not been made."""


def model_facts(spec: str) -> ModelFacts:
    """Size of a model, from the headers of its weight files.

    Args:
        spec: As for `load_language_model`.

    Returns:
        Its size; zeros for a hub id, about which nothing is asked over the network.

    Raises:
        ModelError: The model is not there, or its files are damaged.
    """
    source = locate(spec)
    if source is None:
        return ModelFacts(0, 0, needs_conversion=False)
    if source.is_file():
        made = (models_folder() / file_sha256(source)).is_dir()
        return ModelFacts(_gguf_parameters(source), source.stat().st_size, needs_conversion=not made)
    files = sorted(source.glob("*.safetensors"))
    weights = [path for path in files if path.name.startswith("model")] or files
    counts = [_safetensors_parameters(path) for path in weights]
    return ModelFacts(sum(counts), sum(path.stat().st_size for path in weights), needs_conversion=False)


def _gguf_parameters(path: Path) -> int:
    from gguf import GGUFReader

    try:
        return sum(int(tensor.n_elements) for tensor in GGUFReader(str(path)).tensors)
    except (ValueError, KeyError, IndexError) as error:
        raise ModelError(f"{path} cannot be read as a GGUF file ({error}); download it again") from error


def _safetensors_parameters(path: Path) -> int:
    """Elements of all tensors, from the JSON header that follows its own length."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, path.stat().st_size)))
    except (struct.error, ValueError) as error:
        raise ModelError(f"{path} cannot be read as safetensors ({error}); download it again") from error
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
