"""How a student is trained: every option once, with its range, its default and its meaning.

In: nothing. Out: frozen specs that import without torch, from which the sections of a recipe are
made; the loop and its steps read them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from tutelage.types import Seed

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """What is set for every training run, whatever the student learns from.

    What suits depends on that, so the defaults stand in the classes below.
    """

    epochs: Count
    """Passes over what is learned from."""

    learning_rate: Positive
    """The highest learning rate of AdamW, reached after warm-up, then lowered."""

    embedding_learning_rate: Positive | None
    """The same for token embeddings (and an output matrix tied to them); None: equal to
    `learning_rate`."""

    weight_decay: NotNegative
    """Decoupled weight decay of AdamW, on matrices only."""

    warmup_share: Share
    """The share of all steps during which the learning rate rises linearly."""

    clip_norm: Positive
    """The largest norm of the gradient."""

    checkpoint_every_steps: Count
    """Optimizer steps between two checkpoints; the end of an epoch always writes one."""

    seed: Seed = 0
    """Every random choice in training students follows from this number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings(LoopSettings):
    """How students are trained.

    Of classes; defaults suit a student of a few million weights on short texts. Options stand in
    the order of a recipe, those of every run with the default that suits here.
    """

    epochs: Count = 10
    """Passes over the transfer set."""

    batch_size: Count = 64
    """Rows in one batch, of all processes together."""

    learning_rate: Positive = 5e-4
    """The highest learning rate of AdamW, reached after warm-up, then lowered along a cosine."""

    embedding_learning_rate: Positive | None = None
    weight_decay: NotNegative = 0.01
    warmup_share: Share = 0.1
    clip_norm: Positive = 1.0

    patience: Count | None = None
    """Stop after so many epochs without a better validation loss; None: train all epochs."""

    word_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    """The probability that an input token is hidden from the student (replaced by the unknown
    token) during training."""

    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    """The decay of a moving average of the weights, which is then what is validated and saved;
    None: no average."""

    checkpoint_every_steps: Count = 200

    gradient_accumulation: Count = 1
    """Batches whose gradients are added before one optimizer step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageTrainSettings(LoopSettings):
    """How students are trained.

    Of language models; defaults suit a student of some ten million weights. Options stand in the
    order of a recipe, those of every run with the default that suits here.
    """

    epochs: Count = 1
    """Passes over the training documents; not to be given together with `token_budget`, beside
    which it counts for nothing."""

    token_budget: Count | None = None
    """Train on so many tokens, repeated ones counted again, in place of `epochs`; None: epochs
    count."""

    batch_tokens: Count = 8192
    """The most tokens in one optimizer step, of all processes together; a single longer document
    is a step of its own."""

    micro_batch_tokens: Count = 2048
    """The most tokens that go through the student at once; a matter of memory that changes no
    result but for rounding and the draws of dropout."""

    learning_rate: Positive = 1e-3
    embedding_learning_rate: Positive | None = None

    schedule: Literal["cosine", "wsd"] = "cosine"
    """How the learning rate falls: along a cosine, or held and lowered at the end (warm-up, stable,
    decay)."""

    decay_share: Share = 0.2
    """The share of all steps over which wsd lowers the learning rate and the soft weight becomes
    final."""

    warmup_share: Share = 0.05
    weight_decay: NotNegative = 0.1
    clip_norm: Positive = 1.0

    evaluate_every_steps: Count | None = None
    """Optimizer steps between two looks at the validation loss; None: after each epoch."""

    checkpoint_every_steps: Count = 100

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """The number format of matrix products (weights, softmax and optimizer stay in float32); auto:
    bfloat16 where the machine is fast at it."""

    sequence_length: Annotated[int, Ge(2)] = 512
    """The longest row; documents are packed up to it. In a recipe it is the task's."""

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of AdamW's two moments; not in a recipe."""

    def check_together(self) -> None:
        """Refuse two words on when to stop; of a recipe, for in Python the budget simply counts.

        Raises:
            ValueError: Both `epochs` and `token_budget` are given.
        """
        # epochs: 1 is what a recipe with a budget is written out with.
        if self.token_budget is not None and self.epochs != 1:
            raise ValueError(
                f"epochs ({self.epochs}) and token_budget ({self.token_budget:,}) both say when to "
                "stop; remove one"
            )
