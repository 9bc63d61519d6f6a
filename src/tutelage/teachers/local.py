"""The options of every teacher whose weights are loaded here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """What a teacher says about the model that it stands on; options only."""

    has_weights: ClassVar[bool] = True

    model: str
    """A folder, a .gguf file, a hub id, or package:NAME for weights inside an installed Python
    package."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The number format of the weights; auto: bfloat16 where the machine is fast at it."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model; only for models whose code you have read."""

    batch_tokens: Annotated[int, Ge(1)] = 4096
    """The most tokens in one batch; a single longer text is a batch of its own."""


@dataclass(frozen=True, kw_only=True)
class LocalReader(LocalModel):
    """What a teacher says that reads single texts with it."""

    max_length: Annotated[int, Ge(1)] = 512
    """The most tokens of one text; longer texts are cut."""

    seed: Annotated[int, Ge(0)] = 0
    """Of folds, shots and fitting. Apart from `train.seed`, so that students of several seeds share
    targets."""


def local_tokenizer(model: str, *, trust_remote_code: bool, convert: bool) -> Any:
    """The tokenizer of a model, see `TeacherSpec.tokenizer`."""
    from tutelage.models import load_tokenizer
    from tutelage.models.reading import read_tokenizer

    read = load_tokenizer if convert else read_tokenizer
    return read(model, trust_remote_code=trust_remote_code)
