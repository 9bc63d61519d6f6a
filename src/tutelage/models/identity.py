"""Which model a name means, told from its files without torch: what stands on it is known by this.

In: a model's name as a recipe writes it. Out: a fingerprint of the bytes that decide what it says.
"""

from __future__ import annotations

from tutelage.models.finding import locate
from tutelage.models.gguf import converted_folder
from tutelage.models.reading import read_config
from tutelage.models.weights import file_sha256, folder_sha256
from tutelage.runs import fingerprint

_TEMPLATE_FILES = ("chat_template*", "tokenizer_config.json", "additional_chat_templates/*")


def model_fingerprint(spec: str, *, trust_remote_code: bool = False) -> str:
    """The fingerprint that `load_language_model` gives to a model, without loading its weights.

    A local model is named by the content of its files, a hub model by its name and the commit in
    the hub's cache.

    Args:
        spec: As for `load_language_model`.
        trust_remote_code: As for `load_language_model`; some hub models cannot even be described
            without their code.

    Raises:
        ModelError: The model is not there.
    """
    source = locate(spec)
    if source is None:
        config = read_config(spec, trust_remote_code=trust_remote_code)
        return fingerprint("language model", f"hub:{spec}@{getattr(config, '_commit_hash', None)}")
    return fingerprint(
        "language model", file_sha256(source) if source.is_file() else folder_sha256(source)
    )


def writes_the_date(spec: str) -> bool:
    """Whether a chat template of this model may write today's date into what it renders.

    Told from the files alone, so it may say True where the template lets the date be given; so it
    does of a hub model, whose files are not looked for.

    Args:
        spec: As for `load_language_model`.

    Raises:
        ModelError: The model is not there.
    """
    source = locate(spec)
    if source is None:
        return True
    folder = converted_folder(source) if source.is_file() else source
    return any(
        b"strftime_now" in path.read_bytes()
        for pattern in _TEMPLATE_FILES
        for path in folder.glob(pattern)
        if path.is_file()
    )
