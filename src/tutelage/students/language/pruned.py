"""The student that is cut from its teacher: its options, and what it knows about itself.

In: the teacher's language model, and which parts to keep. Out: a smaller one of the same class. The
cutting itself is in `students.pruning`; importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from tutelage.errors import ModelError
from tutelage.students.language.lora import Adaptable
from tutelage.students.language.student import Teaching, given, size_problems

Choice = Literal["even", "influence"]


@dataclass(frozen=True, kw_only=True)
class Pruned(Adaptable):
    """The teacher itself, with the parts that matter least taken out."""

    needs_weights: bool = field(default=True, init=False)

    layers: Annotated[int, Ge(1)] | None = None
    """Blocks that are kept; None: all."""

    choice: Choice = "even"
    """Which blocks: evenly spaced, or the first two, the last, and of the others those that change
    their input the most, measured on some 4,096 tokens of the training documents."""

    hidden_size: Annotated[int, Ge(1)] | None = None
    """The width of a token's vector that is kept; None: all."""

    heads: Annotated[int, Ge(1)] | None = None
    """Attention heads that are kept in each block; None: all."""

    intermediate_size: Annotated[int, Ge(1)] | None = None
    """The width inside each block's feed-forward part that is kept; None: all."""

    vocabulary: Literal["full", "corpus"] = "full"
    """The teacher's tokens, or only those that the training and validation documents use; `corpus`
    needs hidden or live targets."""

    hidden_weight: Annotated[float, Ge(0)] = 0.0
    """The weight of the distance between the last hidden states of student and teacher; needs
    hidden or live targets, and the teacher's `hidden_size`."""

    @property
    def trims_vocabulary(self) -> bool:
        """Whether it has only the tokens that the documents use."""
        return self.vocabulary == "corpus"

    def check_together(self) -> None:
        """Refuse a student with nothing taken out, and states of unequal width compared."""
        sizes = (self.layers, self.hidden_size, self.heads, self.intermediate_size)
        if self.vocabulary == "full" and all(size is None for size in sizes):
            raise ValueError(
                "nothing is taken out; give layers, hidden_size, heads, intermediate_size or "
                "vocabulary"
            )
        if self.hidden_weight and self.hidden_size is not None:
            raise ValueError(
                "hidden_weight compares states of equal width; remove hidden_weight or hidden_size"
            )

    def build(
        self,
        tokenizer: Any,
        *,
        sequence_length: int,
        language_model: Any = None,
        calibration: Sequence[Any] = (),
        seed: int = 0,
        say: Callable[[str], None] = lambda _: None,
    ) -> Any:
        """A smaller copy of the teacher, see `LanguageStudent.build`; it reads what that reads."""
        from tutelage.students.pruning.pruning import prune

        del tokenizer, sequence_length
        say("pruning the teacher")
        return prune(
            given(language_model).model,
            layers=self.layers,
            choice=self.choice,
            hidden_size=self.hidden_size,
            heads=self.heads,
            intermediate_size=self.intermediate_size,
            calibration=calibration,
            seed=seed,
        )

    def config(self, teacher: Any, *, vocabulary: int | None = None) -> Any:
        """The teacher's, smaller."""
        from tutelage.students.pruning.plan import plan_pruning, pruned_config
        from tutelage.students.pruning.pruning import keep_layers

        whole = teacher.get_text_config()
        sizes = plan_pruning(
            whole,
            layers=self.layers,
            hidden_size=self.hidden_size,
            heads=self.heads,
            intermediate_size=self.intermediate_size,
        )
        kept = keep_layers(whole.num_hidden_layers, sizes.layers)
        smaller = pruned_config(whole, sizes, kept_layers=kept)
        smaller.vocab_size = whole.vocab_size if vocabulary is None else vocabulary
        smaller.pad_token_id = None  # it may lie beyond a smaller vocabulary
        return smaller

    def problems(self, teaching: Teaching, *, name: str) -> Iterator[tuple[str, str]]:
        """Sizes that the teacher does not have, a tokenizer that cannot be trimmed."""
        from tutelage.students.vocabulary.cutting import needed_ids

        del name
        yield from size_problems(self, teaching)
        if not self.trims_vocabulary:
            return
        try:
            needed_ids(teaching.tokenizer, teaching.used_ids, config=teaching.config)
        except ModelError as error:
            yield "vocabulary", str(error)
        if teaching.has_tokens_without_rows:
            yield (
                "vocabulary",
                f"the teacher has rows for {teaching.config.vocab_size:,} of the "
                f"{len(teaching.tokenizer):,} tokens of its tokenizer only: resize its embeddings "
                "and save it again, or set vocabulary: full",
            )

    def starts_from(self) -> None:
        """None: its weights are the teacher's."""
        return
