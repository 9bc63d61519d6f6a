"""The teacher section: a prompted language model, or a language model with a classification
head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tutelage.config.values import FrozenList, ModelName, PromptTemplate, Section, Words, refusal


def _two_folds_or_none(folds: int) -> int:
    if folds == 1:
        raise refusal("one fold leaves nothing to fit on; expected 0 (off) or at least 2")
    return folds


Folds = Annotated[int, Field(ge=0), AfterValidator(_two_folds_or_none)]


class HeadFit(Section):
    """Fit a linear head on features of the frozen model."""

    method: Literal["head"]
    """How the classifier is fitted."""

    layers: Annotated[Annotated[tuple[int, ...], Field(min_length=1)] | None, FrozenList] = None
    """Indexes of the hidden states to read; None: a default chosen for the depth of the model."""

    pooling: Annotated[tuple[Literal["mean", "last"], ...], FrozenList, Field(min_length=1)] = (
        "mean",
        "last",
    )
    """How the positions of a text become one vector; several are put side by side."""

    regularisation: float | None = Field(default=None, gt=0)
    """The strength of the penalty on the head's weights; None: chosen by cross-validation."""

    cross_fit: Folds = 5
    """Folds, so that no training row is labelled by a head that saw it; 0: one head labels all
    rows."""

    calibrate: bool = True
    """Fit a temperature on rows that the head did not see."""


class LoraFit(Section):
    """Fit low-rank additions to the model's weights, with a classification head."""

    method: Literal["lora"]
    """How the classifier is fitted."""

    rank: int = Field(default=8, ge=1)
    """The rank of each addition."""

    epochs: int = Field(default=2, ge=1)
    """Passes over the labelled rows."""

    learning_rate: float = Field(default=2e-4, gt=0)
    """The highest learning rate."""

    batch_size: int = Field(default=16, ge=1)
    """Examples in one optimizer step."""

    cross_fit: Folds = 0
    """Folds, so that no training row is labelled by a model that saw it; 0: off."""


class FullFit(Section):
    """Fit all weights of the model, with a classification head."""

    method: Literal["full"]
    """How the classifier is fitted."""

    epochs: int = Field(default=2, ge=1)
    """Passes over the labelled rows."""

    learning_rate: float = Field(default=2e-5, gt=0)
    """The highest learning rate."""

    batch_size: int = Field(default=16, ge=1)
    """Examples in one optimizer step."""


class NoFit(Section):
    """The model folder is a fitted sequence classifier, or a teacher that tutelage saved."""

    method: Literal["none"]
    """How the classifier is fitted."""


Fit = Annotated[HeadFit | LoraFit | FullFit | NoFit, Field(discriminator="method")]


class TeacherModel(Section):
    """What every teacher says about its model."""

    model: ModelName
    """A folder, a .gguf file, a hub id, or package:NAME for weights inside an installed Python
    package."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """The number format of the weights; auto: bfloat16 where the machine is fast at it."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model; only for models whose code you have read."""

    batch_tokens: int = Field(default=4096, ge=1)
    """The most tokens in one batch."""

    max_length: int = Field(default=512, ge=1)
    """The most tokens of one text; longer texts are cut."""

    seed: int = Field(default=0, ge=0)
    """Of folds, shots and fitting. Apart from `train.seed`, so that students of several seeds share
    targets."""


class PromptedTeacherSpec(TeacherModel):
    """Any causal language model, asked for the label in its own words."""

    kind: Literal["prompted"]
    """The kind of teacher."""

    instruction: str | None = Field(default=None, min_length=1)
    """What the model is asked to do; None: a sentence made from the labels."""

    template: PromptTemplate = None
    """The prompt around one text, containing {text}; None: a plain default."""

    verbalizers: Mapping[str, Words] | None = None
    """For each label the word, or the words, that mean it; None: the label itself."""

    chat: Literal["auto", True, False] = "auto"
    """Whether to use the model's chat template; auto: if it has one."""

    shots: int = Field(default=0, ge=0)
    """Labelled examples of train shown in the prompt."""

    calibration: Literal["none", "contextual", "batch", "fitted"] = "none"
    """How the label probabilities are corrected for the model's own preference among the words."""


class ClassifierTeacherSpec(TeacherModel):
    """A language model or encoder with a classification head."""

    kind: Literal["classifier"]
    """The kind of teacher."""

    fit: Fit = Field(default_factory=lambda: HeadFit(method="head"))
    """How the head is fitted to the labelled rows first."""


Teacher = Annotated[PromptedTeacherSpec | ClassifierTeacherSpec, Field(discriminator="kind")]
