"""Weight files on disk: what they are called, what they hash to, and GGUF turned into plain
safetensors once.

In: the path of a model folder or of a .gguf file. Out: a folder that `from_pretrained` loads, and a
fingerprint of the bytes that decide what the model says (weights, config, tokenizer). Big files are
hashed once and remembered by size and time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory
from tutelage.runs import atomic_write_text, cache_folder

_REMEMBERED_FROM_BYTES = 8 * 2**20
_IGNORED_SUFFIXES = {".md", ".txt~", ".lock", ".png", ".jpg", ".gitattributes", ".onnx"}
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
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


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that `from_pretrained` could not turn into a model and a tokenizer.

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
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
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


def models_folder() -> Path:
    """Where converted models are kept: a folder per content of the file they came from."""
    return cache_folder() / "models"


def converted_folder(path: Path) -> Path:
    """Where the plain copy of a GGUF file is, or will be once it has been converted."""
    return models_folder() / file_sha256(path)


def first_line(error: Exception) -> str:
    """The first line of an error's message; of a missing key, whose message is the key alone, also
    the kind.
    """
    text = str(error).strip()
    if not text or isinstance(error, KeyError):
        return f"{type(error).__name__} {text}".strip()
    return text.splitlines()[0]


@contextmanager
def without_bars(*, only_errors: bool = False) -> Iterator[None]:
    """Hide transformers' own progress bars inside, and if asked its warnings; all is as it was
    afterwards.
    """
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if only_errors:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def convert_gguf(path: Path) -> Path:
    """Turn a GGUF file into a plain float32 model folder, once per content of the file.

    Quantised blocks are unpacked, and every mark of quantisation is removed from the saved
    configuration, so that the folder is an ordinary model: it trains, it saves, PEFT takes it. The
    folder appears under its final name only when it is complete.

    Args:
        path: A .gguf file.

    Returns:
        `models/<sha256>` in the user's cache folder.

    Raises:
        ModelError: The file is missing, damaged, or of an architecture that transformers does not
            read.
        NotEnoughDisk: The copy would not fit.
        NotEnoughMemory: Neither would the model while it is copied.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file. Check the path of the .gguf file")
    target = converted_folder(path)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
    try:
        with without_bars():
            _write_plain_copy(path, temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():  # another process finished first: its folder is as good
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def gguf_shapes(path: Path) -> dict[str, Sequence[int]]:
    """Shapes of all tensors of a GGUF file, from its header.

    Raises:
        ModelError: The file is damaged.
    """
    from gguf import GGUFReader

    try:
        return {
            str(tensor.name): [int(side) for side in tensor.shape]
            for tensor in GGUFReader(str(path)).tensors
        }
    except (ValueError, KeyError, IndexError) as error:
        raise ModelError(
            f"{path} cannot be read as a GGUF file ({error}); download it again"
        ) from error


def _write_plain_copy(path: Path, folder: Path) -> None:
    """Unpack the file's weights and its tokenizer into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"{path} does not begin with the letters GGUF, so it is no GGUF file or is damaged; "
            "download it again"
        )
    needed, free = (
        4 * sum(math.prod(shape) for shape in gguf_shapes(path).values()),
        shutil.disk_usage(folder).free,
    )
    if needed > free:
        raise NotEnoughDisk(
            f"{path} takes {needed / 1e9:.2f} GB as float32 but {free / 1e9:.2f} GB are free where "
            "converted models "
            "are kept. Free some space, or choose another disk with TUTELAGE_CACHE"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise NotEnoughMemory(
            f"{path} takes {needed / 1e9:.2f} GB as float32 but this machine has "
            f"{memory / 1e9:.2f} GB of memory. Take "
            "a smaller model, or a machine with more"
        )
    where = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**where)
        model = AutoModelForCausalLM.from_pretrained(
            **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        advice = (
            "Upgrade transformers"
            if "is not supported yet" in str(error)
            else "Take another file of the same model"
        )
        raise ModelError(
            f"{path} could not be read as a language model: {first_line(error)}. {advice}, or give "
            "the model's "
            "safetensors folder"
        ) from error
    for part in (model, model.base_model):
        for mark, value in (
            ("hf_quantizer", None),
            ("is_quantized", False),
            ("quantization_method", None),
        ):
            if hasattr(part, mark):
                setattr(part, mark, value)
    if hasattr(model.config, "quantization_config"):
        delattr(model.config, "quantization_config")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
