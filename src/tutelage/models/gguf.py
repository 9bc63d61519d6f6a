"""GGUF files turned into plain safetensors folders, once, and described without that.

In: the path of a .gguf file. Out: a folder that `from_pretrained` loads.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tutelage.errors import ModelError, NotEnoughDisk, NotEnoughMemory
from tutelage.models.pretrained import first_line, from_pretrained, without_bars
from tutelage.models.weights import file_sha256
from tutelage.runs import cache_folder


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
            "converted models are kept. Free some space, or choose another disk with TUTELAGE_CACHE"
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise NotEnoughMemory(
            f"{path} takes {needed / 1e9:.2f} GB as float32 but this machine has "
            f"{memory / 1e9:.2f} GB of memory. Take a smaller model, or a machine with more"
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
