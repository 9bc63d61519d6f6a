"""A model folder before anything reads it: what must be there, and what is not read at all.

In: a folder. Out: nothing, or `ModelError` that names the file. Weights are read from safetensors
alone, for others may run code; files that describe a model are not read without end.
"""

from __future__ import annotations

import json
from pathlib import Path

from tutelage.errors import ModelError
from tutelage.models.headers import quoted, safetensors_shapes

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer_config.json",
)

MOST_BYTES = {"tokenizer.json": 64 * 2**20}
"""Of a file that describes a model; the largest tokenizers have 35 MB."""
MOST_BYTES_OF_OTHERS = 32 * 2**20
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_FILE = "model.safetensors"
ADAPTER_FILE = "adapter_config.json"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that the weights of a model lie in.

    Args:
        folder: Of the model.

    Raises:
        ModelError: The index of files cannot be read, or names something else than weights beside
            it.
    """
    if (folder / WEIGHTS_FILE).is_file() or not (folder / INDEX_FILE).is_file():
        found = sorted(folder.glob("*.safetensors"))
        if (folder / WEIGHTS_FILE) in found:
            return [folder / WEIGHTS_FILE]
        return [path for path in found if path.name.startswith("model")] or found
    index = folder / INDEX_FILE
    require_small(index)
    try:
        named = {str(name) for name in json.loads(index.read_bytes())["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{index} cannot be read ({quoted(error)}): download it again, or save the model again"
        ) from error
    for name in sorted(named):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{index} names {quoted(name)!r} as a file of weights; expected *.safetensors in "
                "the same folder. Save the model again with save_pretrained"
            )
        if not (folder / name).is_file():
            raise ModelError(f"{folder} lacks {name}, which {INDEX_FILE} names: download it again")
    return sorted(folder / name for name in named)


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Shapes of all tensors of a model's weights, from the headers of its files.

    Raises:
        ModelError: As for `weight_files`, or a header is damaged.
    """
    return {
        name: list(shape)
        for path in weight_files(folder)
        for name, shape in safetensors_shapes(path).items()
    }


def require_readable(folder: Path) -> None:
    """Refuse a folder of files that would be read for ever, or that lead elsewhere.

    Raises:
        ModelError: A file that describes the model is too large, or its weights are additions to
            those of another one.
    """
    for path in folder.glob("*.json"):
        if path.is_file():
            require_small(path)
    if (folder / ADAPTER_FILE).is_file() and (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds {ADAPTER_FILE}, so its weights are additions to those of another "
            "model: merge them (merge_and_unload) and save the whole model"
        )


def require_small(path: Path) -> None:
    """Refuse a file that describes a model and is larger than such files are.

    Raises:
        ModelError: It is.
    """
    most, size = MOST_BYTES.get(path.name, MOST_BYTES_OF_OTHERS), path.stat().st_size
    if size > most:
        raise ModelError(
            f"{path} has {size / 2**20:,.0f} MB, but a file like this is read up to "
            f"{most / 2**20:.0f} MB: save model and tokenizer again with save_pretrained"
        )


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
    require_readable(folder)
