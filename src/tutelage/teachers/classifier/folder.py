"""A classifier teacher on disk: `teacher.json`, `head.safetensors`, and what its method fitted. No
pickle.

In: a `Fitted` and its `Description`. Out: a folder, and the two again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tutelage.errors import ModelError
from tutelage.models.completeness import require_numbers
from tutelage.models.facts import model_fingerprint
from tutelage.models.headers import safetensors_shapes
from tutelage.models.loading import LanguageModel, load_language_model
from tutelage.models.pretrained import without_bars
from tutelage.models.refusals import first_line
from tutelage.models.weights import folder_sha256
from tutelage.runs import atomic_write_text, fingerprint, settle_folder, storing
from tutelage.teachers.classifier.features import Pooling
from tutelage.teachers.classifier.finetuning import quiet_peft
from tutelage.teachers.classifier.fitting import Fitted, adapter_name
from tutelage.types import EXAMPLE_ID_BYTES

Method = Literal["head", "lora", "full", "none"]
DESCRIPTION_FILE = "teacher.json"
_ARRAYS_FILE = "head.safetensors"
_ADAPTER_FILE = "adapter_model.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Description:
    """What a saved teacher is: everything but its arrays."""

    method: Method
    """How it was fitted."""
    labels: tuple[str, ...]
    """Class names in the order of the soft targets."""
    model: str
    """Name of the language model below the head, as `load_language_model` takes it."""
    model_fingerprint: str
    """Its fingerprint when the head was fitted."""
    dtype: str
    """`float32` or `bfloat16`."""
    template: str = "{text}"
    """A text is put in here before the model reads it."""
    layers: tuple[int, ...] = ()
    """Hidden layers that features come from (`head` only)."""
    pooling: tuple[Pooling, ...] = ()
    """How they are pooled (`head` only)."""
    temperature: float = 1.0
    """Log-probabilities are divided by it."""
    regularisation: float = 0.0
    """L2 penalty of the head (`head` only)."""
    folds: int = 0
    """Fold heads beside the one fitted on all rows."""
    max_length: int = 512
    """Tokens of a text that are read."""
    trust_remote_code: bool = False
    """Whether the model was allowed to bring code."""


def write_teacher(folder: Path, fitted: Fitted, description: Description) -> None:
    """Write a teacher; `teacher.json` comes last, so a folder that has it is whole."""
    from safetensors.numpy import save_file

    ids = sorted(fitted.fold_of)
    arrays = {
        "example_ids": np.frombuffer(b"".join(ids), dtype=np.uint8)
        .reshape(len(ids), EXAMPLE_ID_BYTES)
        .copy(),
        "folds": np.array([fitted.fold_of[key] for key in ids], dtype=np.int64),
    }
    if fitted.answers:
        known = sorted(fitted.answers)
        arrays |= {
            "answer_ids": np.frombuffer(b"".join(known), dtype=np.uint8)
            .reshape(-1, EXAMPLE_ID_BYTES)
            .copy(),
            "answers": np.stack([fitted.answers[key] for key in known]),
        }
    if fitted.weight is not None and fitted.bias is not None:
        arrays |= {
            "weight": np.ascontiguousarray(fitted.weight),
            "bias": np.ascontiguousarray(fitted.bias),
        }
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Until everything is there, what may lie here speaks of another teacher.
        (folder / DESCRIPTION_FILE).unlink(missing_ok=True)
        save_file(arrays, folder / _ARRAYS_FILE)
        if description.method in ("lora", "full"):
            with without_bars():
                fitted.language_model.model.save_pretrained(folder)
            fitted.language_model.tokenizer.save_pretrained(folder)
        settle_folder(folder)
    content = {"format": _FORMAT, "kind": "classifier", **asdict(description)}
    atomic_write_text(folder / DESCRIPTION_FILE, json.dumps(content, indent=2) + "\n")


def read_description(folder: Path) -> Description:
    """What a saved teacher is, without its arrays and weights.

    Raises:
        ModelError: The folder holds no teacher, or one that this version cannot read.
    """
    if not (folder / DESCRIPTION_FILE).is_file():
        raise ModelError(
            f"{folder} holds no {DESCRIPTION_FILE}, so it is no saved teacher; give the folder "
            "that save wrote"
        )
    try:
        fields = json.loads((folder / DESCRIPTION_FILE).read_text("utf-8"))
        if (fields.pop("format"), fields.pop("kind")) != (_FORMAT, "classifier"):
            raise ModelError(
                f"{folder / DESCRIPTION_FILE} is of another kind or version; fit the teacher again"
            )
        for name in ("labels", "layers", "pooling"):
            fields[name] = tuple(fields[name])
        return Description(**fields)
    except ModelError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OSError) as error:
        raise ModelError(
            f"{folder / DESCRIPTION_FILE} is damaged ({error}); fit the teacher again"
        ) from error


def is_saved_teacher(model: str) -> bool:
    """Whether a model's name, as a recipe writes it, is the folder of a saved teacher."""
    return (Path(model).expanduser() / DESCRIPTION_FILE).is_file()


def saved_teacher_fingerprint(folder: Path) -> str:
    """Names a saved teacher by the content of its files, without loading them or the weights below.

    Raises:
        ModelError: The folder holds no teacher, or the model below it is not the one it was fitted
            on.
    """
    description = read_description(folder)
    if description.method != "full":
        known = model_fingerprint(
            description.model, trust_remote_code=description.trust_remote_code
        )
        _require_same_weights(folder, description, name=description.model, fingerprint=known)
    folds = [folder / adapter_name(fold + 1) for fold in range(description.folds)]
    return fingerprint(
        "saved teacher", [folder_sha256(place) for place in (folder, *folds) if place.is_dir()]
    )


def read_teacher(
    folder: Path, *, language_model: LanguageModel | None = None
) -> tuple[Fitted, Description]:
    """Read what `write_teacher` wrote.

    Args:
        folder: The folder.
        language_model: The model below the head, if it is in memory already (`head` and `none`
            only).

    Raises:
        ModelError: The folder holds no teacher, or the model below it is not the one it was fitted
            on.
    """
    folder = Path(folder)
    description = read_description(folder)
    arrays = _read_arrays(folder, description)
    fold_of = {
        row.tobytes(): int(fold)
        for row, fold in zip(arrays["example_ids"], arrays["folds"], strict=True)
    }
    if language_model is None or description.method in ("lora", "full"):
        language_model = _load_below(folder, description)
    if description.method != "full":
        _require_same_weights(
            folder, description, name=language_model.name, fingerprint=language_model.fingerprint
        )
    if description.method == "lora":
        language_model = replace(
            language_model, model=_load_adapters(folder, description, language_model.model)
        )
    answers: dict[bytes, np.ndarray] = {}
    if "answers" in arrays:
        answers = {
            row.tobytes(): probs
            for row, probs in zip(arrays["answer_ids"], arrays["answers"], strict=True)
        }
    fitted = Fitted(
        language_model,
        answers=answers,
        fold_of=fold_of,
        folds=description.folds,
        weight=arrays.get("weight"),
        bias=arrays.get("bias"),
        temperature=description.temperature,
        regularisation=description.regularisation,
    )
    return fitted, description


def _read_arrays(folder: Path, description: Description) -> dict[str, np.ndarray]:
    """What was fitted, in the shapes that it has, and of numbers only.

    Raises:
        ModelError: It is not; the message says what is missing or wrong.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path, advice = folder / _ARRAYS_FILE, "fit the teacher again"
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({first_line(error)}): {advice}") from error
    rows = len(arrays["example_ids"]) if "example_ids" in arrays else 0
    classes, heads = len(description.labels), description.folds + 1
    expected: dict[str, tuple[int | None, ...]] = {
        "example_ids": (rows, EXAMPLE_ID_BYTES),
        "folds": (rows,),
    }
    if description.method == "head":
        expected |= {"weight": (heads, classes, None), "bias": (heads, classes)}
    if "answers" in arrays or "answer_ids" in arrays:
        known = len(arrays["answers"]) if "answers" in arrays else 0
        expected |= {"answer_ids": (known, EXAMPLE_ID_BYTES), "answers": (known, classes)}
    for name, shape in expected.items():
        if name not in arrays:
            raise ModelError(f"{path} holds no {name}: {advice}")
        there = arrays[name].shape
        if len(there) != len(shape) or any(
            side is not None and side != found for side, found in zip(shape, there, strict=True)
        ):
            sides = ["any" if side is None else str(side) for side in shape]
            raise ModelError(
                f"{path}: {name} is {list(there)}, expected [{', '.join(sides)}]: {advice}"
            )
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ModelError(f"{path}: {name} holds values that are no numbers: {advice}")
    return arrays


def _require_same_weights(
    folder: Path, description: Description, *, name: str, fingerprint: str
) -> None:
    """Refuse a model below a saved teacher that is not the one it was fitted on."""
    if fingerprint != description.model_fingerprint:
        raise ModelError(
            f"{folder} was fitted on {description.model} with fingerprint "
            f"{description.model_fingerprint}, but "
            f"{name} has {fingerprint}; give the same weights, or fit the teacher again"
        )


def _load_below(folder: Path, description: Description) -> LanguageModel:
    """The language model that a saved teacher stands on."""
    options: dict[str, Any] = {
        "dtype": description.dtype,
        "trust_remote_code": description.trust_remote_code,
    }
    match description.method:
        case "head":
            return load_language_model(description.model, head="backbone", **options)
        case "full":
            return load_language_model(str(folder), head="sequence", **options)
        case "lora":
            return load_language_model(
                description.model, head="sequence", labels=description.labels, **options
            )
        case "none":
            return load_language_model(description.model, head="sequence", **options)


def _load_adapters(folder: Path, description: Description, model: Any) -> Any:
    """The model with every saved adapter, the one fitted on all rows in force."""
    from peft import PeftModel
    from peft.utils import get_peft_model_state_dict

    places = {adapter_name(0): folder}
    for fold in range(description.folds):
        places[adapter_name(fold + 1)] = folder / adapter_name(fold + 1)
    for place in places.values():
        if not (place / _ADAPTER_FILE).is_file():
            raise ModelError(f"{place} holds no {_ADAPTER_FILE}: fit the teacher again")
    try:
        with quiet_peft(), without_bars():
            first, *others = places
            wrapped = PeftModel.from_pretrained(model, str(folder), adapter_name=first)
            for name in others:
                wrapped.load_adapter(str(places[name]), adapter_name=name)
    except Exception as error:  # whatever peft makes of a damaged adapter
        raise ModelError(
            f"the adapters in {folder} cannot be loaded ({first_line(error)}): fit the teacher "
            "again"
        ) from error
    for name, place in places.items():
        needed = get_peft_model_state_dict(wrapped, adapter_name=name)
        there = safetensors_shapes(place / _ADAPTER_FILE)
        if missing := sorted(set(needed) - set(there)):
            raise ModelError(
                f"{place / _ADAPTER_FILE} lacks {len(missing):,} tensors ({', '.join(missing[:3])}"
                "): fit the teacher again"
            )
    require_numbers(wrapped, name=str(folder))
    wrapped.set_adapter(adapter_name(0))
    return wrapped.eval()
