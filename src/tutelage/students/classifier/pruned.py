"""The student that is its teacher with fewer layers.

In: the options, then the teacher's model. Out: a sequence classifier with the teacher's embeddings,
some of its layers and its head, and the tokenizer. Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt

from tutelage.config.ranges import check_options
from tutelage.students.classifier.fresh import FreshStudent
from tutelage.students.classifier.student import refused
from tutelage.types import SILENT, Progress

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.students.classifier.matching import HiddenMatching

LayerChoice = Literal["first", "even", "influence"]
HiddenDistance = Literal["cosine", "mse"]
MatchedLayers = Literal["last", "all"]


@dataclass(frozen=True, kw_only=True)
class PrunedClassifier:
    """The teacher with fewer layers.

    Source: Sanh et al. 2019 (arXiv:1910.01108) for evenly spaced layers and the cosine of last
        hidden states, Sajjad et al. 2020 (arXiv:2004.03844) for the first layers, Men et al. 2024
        (arXiv:2403.03853) for influence, Jiao et al. 2019 (arXiv:1909.10351) for the squared
        distance of the states of all layers.
    """

    needs_weights: bool = field(default=True, init=False)
    needs_tokenizer: bool = field(default=True, init=False)

    labels: Sequence[str]
    """Class names in the order of the logits."""

    layers: Annotated[int, Ge(1)]
    """How many of the teacher's layers stay."""

    max_length: Annotated[int, Ge(2)] = FreshStudent.max_length
    """The most tokens of one text; longer texts are cut."""

    choice: LayerChoice = "first"
    """Which layers stay: the first; evenly spaced ones, the first and the last among them; or those
    that change their input the most on some training texts (influence)."""

    vocabulary: Literal["full", "corpus"] = "full"
    """The teacher's tokens, or only those that the training texts use; any other text is spelled in
    smaller pieces then."""

    head_learning_rate: Annotated[float, Gt(0)] | None = None
    """The highest learning rate of the head that classifies; None: that of `train`."""

    hidden_weight: Annotated[float, Ge(0)] = 0.0
    """The weight of the distance between the hidden states of student and teacher, beside the
    objective; the teacher reads along while the student is trained. 0: none."""

    hidden_distance: HiddenDistance = "cosine"
    """The distance of two states: one minus their cosine, or the mean squared difference."""

    hidden_layers: MatchedLayers = "last"
    """Which states are compared: the last ones, or those behind every layer of the student with
    those behind the same layer of the teacher."""

    def __post_init__(self) -> None:
        check_options(self)

    def build(
        self,
        texts: Iterable[str] = (),
        *,
        language_model: Any = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """The teacher's model with fewer layers, and its tokenizer, see `ClassifierStudent.build`.

        Raises:
            ModelError: No language model was given; its layers are not one list; it has fewer; its
                tokenizer cannot be cut to the corpus.
        """
        from tutelage.students.language.student import given
        from tutelage.students.pruning.classifiers import prune_classifier

        del cache
        progress.say("Pruning the teacher")
        return prune_classifier(
            given(language_model),
            labels=self.labels,
            layers=self.layers,
            choice=self.choice,
            texts=list(texts),
            trims_vocabulary=self.vocabulary == "corpus",
            max_length=self.max_length,
            seed=seed,
        )

    def matching(self, model: Any, tokenizer: Any, *, language_model: Any) -> HiddenMatching | None:
        """What compares hidden states, see `MatchesStates`."""
        from tutelage.students.classifier.matching import HiddenMatching

        if not self.hidden_weight:
            return None
        return HiddenMatching(
            model,
            tokenizer,
            language_model,
            weight=self.hidden_weight,
            distance=self.hidden_distance,
            layers=self.hidden_layers,
        )

    def learning_rates(self, model: Any) -> Mapping[str, float]:
        """That of the head, see `TrainedInPart`."""
        from tutelage.students.classifier.partial import head_weights

        rate = self.head_learning_rate
        return {} if rate is None else dict.fromkeys(head_weights(model), rate)

    def finished(self, model: Any) -> Any:
        """The model as it is, see `TrainedInPart`."""
        return model

    def reads_layer(self, layers: int) -> None:
        """None: its embeddings are the teacher's own."""
        del layers

    def weights(self, facts: ModelFacts | None = None) -> tuple[float, float]:
        """Weights multiplied at every token, and all weights."""
        if facts is None or not facts.layers:
            return 0.0, 0.0
        table = (facts.vocabulary or 0) * (facts.embedding_width or 0)
        each = max(0, facts.parameters - table) / facts.layers
        body = self.layers * each
        read = facts.layers if facts.read_layers is None else facts.read_layers
        # A teacher that reads along passes forward alone, a third of what training takes.
        along = read * each / 3 if self.hidden_weight else 0.0
        return body + along, body + table

    def problems(
        self,
        facts: ModelFacts | None,
        tokenizer: Callable[[], Any],
        *,
        texts: Sequence[str] = (),
    ) -> Iterator[tuple[str, str]]:
        """More layers than the teacher has, layers that cannot be told, a tokenizer that cannot be
        cut.
        """
        from tutelage.models.loading import empty_model
        from tutelage.students.classifier.partial import layers_of
        from tutelage.students.pruning.classifiers import ADVICE
        from tutelage.students.vocabulary.cutting import needed_ids

        del texts
        if facts is not None and facts.config is not None:
            message = refused(
                lambda: layers_of(
                    empty_model(facts.config, head="backbone"), name="the teacher", advice=ADVICE
                )
            )
            if message is not None:
                yield "layers", message
        if facts is not None and facts.layers is not None:
            read = facts.layers if facts.read_layers is None else facts.read_layers
            if self.layers > read:
                yield "layers", too_many(self.layers, facts.layers, read)
        if self.vocabulary == "corpus":
            message = refused(lambda: needed_ids(tokenizer(), (), spells_all=False))
            if message is not None:
                yield "vocabulary", message

    def starts_from(self) -> None:
        """None: its weights are the teacher's."""
        return


def too_many(layers: int, depth: int, read: int) -> str:
    """What is said of more layers than a teacher has.

    Args:
        layers: That were asked for.
        depth: How many it has.
        read: How many of them make its answers.
    """
    least = f": give 1 to {read}" if read else ": take another kind of student"
    fewer = f", of which its head reads the first {read}" if read < depth else ""
    return f"is {layers}, but the teacher has {depth} layers{fewer}{least}"
