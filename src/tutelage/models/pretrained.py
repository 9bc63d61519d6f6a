"""The one door to `from_pretrained` of transformers: configurations, tokenizers and models, our
recurrent students among them.

In: where a model lies. Out: what transformers makes of it, or what to say about it where
transformers refuses. Code that comes with a model runs only where the caller says so by name, here
as everywhere; weights are read from safetensors (or GGUF) alone. The recurrent students are classes
of ours that `AutoConfig`, `AutoModelForSequenceClassification` and `AutoModelForCausalLM` know once
they have been told, which happens here and not on import: whoever loads such a folder by other
means than tutelage's own calls `tutelage.register()` first.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tutelage.errors import ModelError, TutelageError
from tutelage.models.folders import tensor_shapes
from tutelage.models.headers import is_gguf, require_sound_gguf
from tutelage.models.refusals import unreadable
from tutelage.models.registration import register, register_configurations
from tutelage.models.sanity import require_sane_config, require_sane_sizes, require_sane_tokenizer
from tutelage.runs.storage import storage_error

Part = Literal["config", "tokenizer", "causal_lm", "backbone", "sequence"]
"""What of a model is loaded: its configuration, its tokenizer, or the model with a head that scores
tokens, none, or one that classifies."""
_PLAIN = "TokenizersBackend"
"""The class of a tokenizer that is what tokenizer.json says, whatever the model."""


def from_pretrained(
    part: Part,
    spec: str,
    location: Path | None = None,
    *,
    trust_remote_code: bool = False,
    fresh_head: bool = False,
    **options: Any,
) -> Any:
    """A part of a model, as transformers reads it.

    Whatever transformers and the libraries below it raise about a model becomes a `ModelError` here
    and nowhere else. Of a model, every tensor that its architecture needs must be there, in its
    shape and without values that are no numbers.

    Args:
        part: What of it.
        spec: The model as the recipe writes it; asked of the hub where there is no location.
        location: Its folder or .gguf file.
        trust_remote_code: Run code that comes with the model.
        fresh_head: Whether the head that classifies may be new, where the folder holds a model
            without one.
        **options: Of `from_pretrained`.

    Raises:
        ModelError: It cannot be read, or is not whole; the message says what to do.
    """
    with _in_own_words(spec, location), without_bars():
        if part == "config":
            return _config(spec, location, trust_remote_code, options)
        if part == "tokenizer":
            return _tokenizer(spec, location, trust_remote_code, options)
        return _model(part, spec, location, trust_remote_code, fresh_head, options)
    raise AssertionError  # one of them has returned, or an error was raised


def require_loadable(part: Part, spec: str, location: Path, *, fresh_head: bool = False) -> None:
    """Refuse what `from_pretrained` would refuse of a model, told without reading its weights.

    Args:
        part: As for `from_pretrained`; a model with some head, or none.
        spec: As for `from_pretrained`.
        location: Its folder.
        fresh_head: As for `from_pretrained`.

    Raises:
        ModelError: As for `from_pretrained`.
        NotEnoughMemory: As for `from_pretrained`.
    """
    with _in_own_words(spec, location), without_bars():
        _loader(part, spec, location, False, fresh_head, {})(device_map="meta")


@contextmanager
def _in_own_words(spec: str, location: Path | None) -> Iterator[None]:
    """Make a `ModelError` of whatever is raised inside about a model."""
    try:
        yield
    except TutelageError:
        raise
    except Exception as error:
        trouble = storage_error(error, location)
        if trouble is not None and trouble.errno in (errno.EMFILE, errno.ENFILE):
            raise trouble from error  # which is no fault of the model
        raise unreadable(spec, error, location=location) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of libraries in Rust
            raise
        raise unreadable(spec, error, location=location) from error


def _config(spec: str, location: Path | None, trust: bool, options: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig, PreTrainedConfig

    register_configurations()
    where = _where(spec, location)
    entries, _ = PreTrainedConfig.get_config_dict(**where)
    require_sane_sizes(entries, name=spec)
    config = AutoConfig.from_pretrained(**where, trust_remote_code=trust, **options)
    require_sane_config(config, name=spec)
    return config


def _tokenizer(spec: str, location: Path | None, trust: bool, options: Mapping[str, Any]) -> Any:
    from transformers import AutoTokenizer

    register_configurations()
    tokenizer = AutoTokenizer.from_pretrained(
        **_where(spec, location), trust_remote_code=trust, **options
    )
    if _is_rebuilt(tokenizer, location):
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(location), **options)
    require_sane_tokenizer(tokenizer, name=spec)
    return tokenizer


def _is_rebuilt(tokenizer: Any, location: Path | None) -> bool:
    """Whether transformers went by the model's type where a folder says that tokenizer.json alone
    counts: a Qwen 2 with another tokenizer than Qwen's would silently read other tokens.
    """
    path = None if location is None else location / "tokenizer_config.json"
    if path is None or not path.is_file() or type(tokenizer).__name__ == _PLAIN:
        return False
    return json.loads(path.read_text("utf-8")).get("tokenizer_class") == _PLAIN


def _model(
    part: Part,
    spec: str,
    location: Path | None,
    trust: bool,
    fresh_head: bool,
    options: dict[str, Any],
) -> Any:
    from tutelage.models.completeness import require_numbers

    load = _loader(part, spec, location, trust, fresh_head, options)
    if not trust and not is_gguf(location):
        load(device_map="meta")  # without values: what is not whole takes no memory
    model = load()
    require_numbers(model, name=spec)
    _without_contradictions(model)
    return model


def _without_contradictions(model: Any) -> None:
    """Leave settings of generation out that contradict each other, keeping the tokens that end a
    text: transformers would refuse to save the model or what is made of it.
    """
    from transformers import GenerationConfig

    settings = getattr(model, "generation_config", None)
    if settings is None:
        return
    try:
        settings.validate(strict=True)
    except Exception:  # whatever it makes of values that are none
        ends = ("bos_token_id", "eos_token_id", "pad_token_id")
        config = model.config.get_text_config()
        model.generation_config = GenerationConfig(
            **{key: getattr(config, key, None) for key in ends}
        )


def _loader(
    part: Part,
    spec: str,
    location: Path | None,
    trust: bool,
    fresh_head: bool,
    options: dict[str, Any],
) -> Callable[..., Any]:
    """Loads a model with some more options of transformers, and refuses it if it is not whole."""
    from tutelage.models.completeness import require_memory, require_whole

    register()
    given = options.get("config")
    config = _config(spec, location, trust, {}) if given is None else given
    auto = _auto_class(part, config)
    if part == "backbone" and config.is_encoder_decoder and not _reads_alone(config) and not trust:
        raise ModelError(
            f"{spec} is of the kind {config.model_type}, which decodes what it has encoded and "
            "reads no text by itself: take an encoder, or a causal language model"
        )
    where = _where(spec, location)
    if not is_gguf(location):
        where["use_safetensors"] = True
    if location is not None and location.is_dir():
        shapes = tensor_shapes(location)
        require_sane_sizes(config.to_dict(), name=spec, tensors=len(shapes))
        require_memory(shapes.values(), dtype=options.get("dtype"), name=spec)

    def load(**more: Any) -> Any:
        with quiet():  # what transformers reports about tensors is said here, as an error
            model, told = auto.from_pretrained(
                **where,
                trust_remote_code=trust,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **{**options, **more},
            )
        require_whole(model, told, part=part, name=spec, fresh_head=fresh_head)
        return model

    return load


def _auto_class(part: Part, config: Any) -> Any:
    import transformers

    match part:
        case "causal_lm":
            return transformers.AutoModelForCausalLM
        case "sequence":
            return transformers.AutoModelForSequenceClassification
        case _ if reads_as_encoder(config):
            return transformers.AutoModelForTextEncoding
        case _:
            return transformers.AutoModel


def reads_as_encoder(config: Any) -> bool:
    """Whether of a model that decodes what it has encoded the encoder alone is its backbone: T5 and
    its kin, whose encoder is a model of its own.
    """
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING

    return bool(config.is_encoder_decoder) and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING


def _reads_alone(config: Any) -> bool:
    """Whether of a model that decodes what it has encoded hidden states of a text are had: from its
    encoder, or from a decoder that reads the text once more, as in BART.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    return reads_as_encoder(config) or type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


def _where(spec: str, location: Path | None) -> dict[str, Any]:
    if location is None:
        return {"pretrained_model_name_or_path": spec}
    if not is_gguf(location):
        return {"pretrained_model_name_or_path": str(location)}
    require_sound_gguf(location)
    return {
        "pretrained_model_name_or_path": str(location.parent),
        "gguf_file": location.name,
    }


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide transformers' own progress bars inside; all is as it was afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide transformers' own warnings inside."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
