"""Weight files on disk: what they are called, what they hash to, the shapes in their headers, and
GGUF files turned into plain safetensors folders, once.

In: the path of a model folder or file. Out: a fingerprint of the bytes that decide what the model
says (weights, configuration, tokenizer), or why the folder is no model; of a .gguf file a folder
that `from_pretrained` loads.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory
from tutelage.models.pretrained import first_line, from_pretrained, without_bars
from tutelage.runs import cache_folder, storing
from tutelage.runs.contents import remove
from tutelage.runs.digests import file_sha256, is_whole, note_folder
from tutelage.types import describe_bytes

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
            f"{path} takes {describe_bytes(needed)} as float32 but {describe_bytes(free)} are free "
            "where converted models are kept. Free some space, or choose another disk with "
            "TUTELAGE_CACHE"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise NotEnoughMemory(
            f"{path} takes {describe_bytes(needed)} as float32 but this machine has "
            f"{describe_bytes(memory)} of memory. Take a smaller model, or a machine with more"
        )
    try:
        tokenizer = from_pretrained("tokenizer", str(path), path)
        model = from_pretrained(
            "causal_lm",
            str(path),
            path,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        advice = (
            "Upgrade transformers"
            if "is not supported yet" in str(error)
            else "Take another file of the same model"
        )
        raise ModelError(
            f"{path} could not be read as a language model: {first_line(error)}. {advice}, or give "
            "the model's safetensors folder"
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
