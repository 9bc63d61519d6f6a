"""Weight files on disk: what they are called, what they hash to, and the shapes in their headers.

In: the path of a model folder or file. Out: a fingerprint of the bytes that decide what the model
says (weights, configuration, tokenizer), or why the folder is no model. Big files are hashed once
and remembered by size and time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from tutelage.errors import ModelError
from tutelage.runs import atomic_write_text, cache_folder

_REMEMBERED_FROM_BYTES = 8 * 2**20
_IGNORED_SUFFIXES = {".md", ".txt~", ".lock", ".png", ".jpg", ".gitattributes", ".onnx"}
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer_config.json",
)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; files over 8 MB are read once and remembered.

    The memory lies in the user's cache folder and is keyed by path, size and modification time in
    nanoseconds, so a replaced file is read again.
    """
    stat = path.stat()
    if stat.st_size < _REMEMBERED_FROM_BYTES:
        return _sha256(path)
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    note = cache_folder() / "digests" / f"{key}.json"
    seen = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if note.is_file():
        known = json.loads(note.read_text("utf-8"))
        if {name: known.get(name) for name in seen} == seen:
            return str(known["sha256"])
    digest = _sha256(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(note, json.dumps({**seen, "sha256": digest, "path": str(path)}))
    return digest


def folder_sha256(folder: Path) -> str:
    """One digest over the files of a model folder that matter: weights, configuration, tokenizer,
    chat template.

    File names and contents enter, the folder's own name and place do not, so a copied model keeps
    its fingerprint.
    """
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if (
            path.is_file()
            and path.suffix not in _IGNORED_SUFFIXES
            and not path.name.startswith(".")
        ):
            total.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return total.hexdigest()


def check_model_folder(folder: Path, *, tokenizer: bool = True) -> None:
    """Refuse a folder that `from_pretrained` could not turn into a model and a tokenizer.

    Args:
        folder: The folder.
        tokenizer: False where a model alone is wanted.

    Raises:
        ModelError: No config.json, no tokenizer, or no weights; the message names what is missing.
    """
    if not (folder / "config.json").is_file():
        if (folder / "teacher.json").is_file():
            raise ModelError(
                f"{folder} is a teacher that tutelage saved, not a model. Use it as it is, with "
                "kind: classifier and "
                "fit: {method: none}, or give the model that it stands on"
            )
        raise ModelError(
            f"{folder} holds no config.json, so it is no model folder. Give the folder that "
            "save_pretrained wrote "
            "(config.json, model.safetensors, tokenizer.json), a .gguf file, or a hub id"
        )
    if tokenizer and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder} holds no tokenizer (looked for {', '.join(_TOKENIZER_FILES[:4])}). Save the "
            "tokenizer beside "
            f"the model: tokenizer.save_pretrained('{folder}')"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(path.name for path in folder.glob("*.bin"))
        why = f"only {pickled[0]}, which may run code when it is read" if pickled else "no weights"
        raise ModelError(
            f"{folder} holds {why}; expected model.safetensors. Save the weights again with "
            "model.save_pretrained(folder), which writes safetensors"
        )


def safetensors_shapes(path: Path) -> dict[str, Sequence[int]]:
    """Shapes of all tensors of a safetensors file, from its header.

    Raises:
        ModelError: The file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read as safetensors ({error}); download it again"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
