"""Weight files on disk: what they hash to, and GGUF files turned into plain safetensors folders,
once.

In: the path of a model folder or file. Out: a fingerprint of the bytes that decide what the model
says (weights, configuration, tokenizer); of a .gguf file a folder that `from_pretrained` loads.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from pathlib import Path

from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory
from tutelage.models.headers import gguf_shapes
from tutelage.models.pretrained import from_pretrained, without_bars
from tutelage.runs import cache_folder, storing, total_memory_bytes
from tutelage.runs.contents import remove
from tutelage.runs.digests import file_sha256, is_whole, note_folder
from tutelage.types import describe_bytes

_IGNORED_SUFFIXES = {".md", ".txt~", ".lock", ".png", ".jpg", ".gitattributes", ".onnx"}


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


def models_folder() -> Path:
    """Where converted models are kept: a folder per content of the file they came from."""
    return cache_folder() / "models"


def converted_folder(path: Path) -> Path:
    """Where the plain copy of a GGUF file is, or will be once it has been converted."""
    return models_folder() / file_sha256(path)


def convert_gguf(path: Path) -> Path:
    """Turn a GGUF file into a plain float32 model folder, once per content of the file.

    Quantised blocks are unpacked, and every mark of quantisation is removed from the saved
    configuration, so that the folder is an ordinary model: it trains, it saves, PEFT takes it. The
    folder appears under its final name only when it is complete, and is made again where it is not
    what was written.

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
    if is_whole(target):
        return target
    remove(target)  # it is not what was converted
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".converting-"))
    try:
        with storing(target), without_bars():
            _write_plain_copy(path, temporary)
        note_folder(temporary)
        try:
            temporary.rename(target)
        except OSError:
            if not is_whole(target):  # another process finished first: its folder is as good
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def _write_plain_copy(path: Path, folder: Path) -> None:
    """Unpack the file's weights and its tokenizer into `folder`."""
    import torch
    from transformers.utils.quantization_config import GgufConfig

    needed, free = (
        4 * sum(math.prod(shape) for shape in gguf_shapes(path).values()),
        shutil.disk_usage(folder).free,
    )
    if needed > free:
        raise NotEnoughDisk(
            f"{path} takes {describe_bytes(needed)} as float32 but {describe_bytes(free)} are free "
            "where converted models are kept. Free some space, or choose another disk with "
            "TUTELAGE_CACHE"
        )
    memory = total_memory_bytes()
    if memory is not None and needed > memory:
        raise NotEnoughMemory(
            f"{path} takes {describe_bytes(needed)} as float32 but this machine has "
            f"{describe_bytes(memory)} of memory. Take a smaller model, or a machine with more"
        )
    tokenizer = from_pretrained("tokenizer", str(path), path)
    model = from_pretrained(
        "causal_lm",
        str(path),
        path,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
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
