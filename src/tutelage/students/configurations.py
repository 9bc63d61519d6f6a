"""What stands in the `config.json` of a student: class names as transformers holds them, and the
shapes of the networks that are classes of ours. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from tutelage.config.ranges import check_values
from tutelage.students.classifier.specs import RNN
from tutelage.students.classifier.static.spec import Static
from tutelage.students.language.specs import LanguageRNN


class RecurrentConfig(PretrainedConfig):
    """Shape of a recurrent text classifier.

    What is not given is as in `students.RNN`, where each option is explained.

    Args:
        vocabulary_size: Rows of the embedding matrix.
        embedding_size: Width of a token embedding.
        hidden_size: Width of the state of one direction.
        layers: Recurrent layers, one on top of the other.
        cell: `gru` or `lstm`.
        bidirectional: Also read the text from its end; doubles the width of the states.
        pooling: How the states become one vector: `mean`, `max`, `mean_max` (both, side by side),
            `attention` (weights from a small learned scorer), `last` (the state at the end that
            each direction arrives at).
        dropout: Share of values dropped, while training, after the embedding, between layers and
            before the classifier.
        embedding_std: Standard deviation of fresh random embeddings.
        pad_token_id: Id whose embedding is zero and stays so.
        **settings: What every transformers configuration takes, for instance `id2label` and
            `label2id`.

    Raises:
        ValueError: A number is not positive, or `cell` or `pooling` is not one of those above.

    Example:
        >>> RecurrentConfig(cell="lstm").features
        512
    """

    model_type = "tutelage_rnn"
    attribute_map = {"vocab_size": "vocabulary_size", "num_hidden_layers": "layers"}  # noqa: RUF012

    def __init__(
        self,
        *,
        vocabulary_size: int = RNN.vocabulary_size,
        embedding_size: int = RNN.embedding_size,
        hidden_size: int = RNN.hidden_size,
        layers: int = RNN.layers,
        cell: str = RNN.cell,
        bidirectional: bool = RNN.bidirectional,
        pooling: str = RNN.pooling,
        dropout: float = RNN.dropout,
        embedding_std: float = 0.5,
        pad_token_id: int = 0,
        **settings: Any,
    ) -> None:
        if vocabulary_size < 1:
            raise ValueError(f"vocabulary_size is {vocabulary_size}: give a whole number above 0")
        shape = {"embedding_size": embedding_size, "hidden_size": hidden_size, "layers": layers}
        others = {"cell": cell, "pooling": pooling, "dropout": dropout}
        check_values(RNN, {**shape, **others})
        self.vocabulary_size = vocabulary_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.layers = layers
        self.cell = cell
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.embedding_std = embedding_std
        super().__init__(**settings)
        self.pad_token_id = pad_token_id

    @property
    def features(self) -> int:
        """Width of the pooled vector that the classifier reads."""
        return (
            self.hidden_size
            * (2 if self.bidirectional else 1)
            * (2 if self.pooling == "mean_max" else 1)
        )


class StaticConfig(PretrainedConfig):
    """Shape of a static text classifier.

    What is not given is as in `students.Static`, where each option is explained.

    Args:
        vocabulary_size: Tokens.
        bigrams: Pairs of tokens that have a vector, whose rows follow those of tokens.
        size: Width of a token's vector.
        hidden: Width of the hidden layer; 0: none.
        dropout: Share of values dropped, while training, before every matrix.
        pad_token_id: Id whose vector is zero and stays so.
        **settings: What every transformers configuration takes.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> StaticConfig(size=64).hidden
        128
    """

    model_type = "tutelage_static"
    attribute_map = {"vocab_size": "vocabulary_size", "hidden_size": "size"}  # noqa: RUF012

    def __init__(
        self,
        *,
        vocabulary_size: int = Static.vocabulary_size,
        bigrams: int = 0,
        size: int = Static.size,
        hidden: int = Static.hidden,
        dropout: float = Static.dropout,
        pad_token_id: int = 0,
        **settings: Any,
    ) -> None:
        if vocabulary_size < 1:
            raise ValueError(f"vocabulary_size is {vocabulary_size}: give a whole number above 0")
        shape = {"bigrams": bigrams, "size": size, "hidden": hidden}
        check_values(Static, {**shape, "dropout": dropout})
        self.vocabulary_size = vocabulary_size
        self.bigrams = bigrams
        self.size = size
        self.hidden = hidden
        self.dropout = dropout
        super().__init__(**settings)
        self.pad_token_id = pad_token_id


class RecurrentLanguageConfig(PretrainedConfig):
    """Shape of a recurrent language model.

    What is not given is as in `LanguageRNN`, where each option is explained.

    Args:
        vocab_size: Rows of the embedding matrix and of the output matrix.
        embedding_size: Width of a token embedding and of the vector that the output matrix
            multiplies.
        hidden_size: Width of the recurrent state.
        layers: Recurrent layers, one on top of the other.
        cell: `gru` or `lstm`.
        dropout: Share of values dropped, while training, after the embedding and after every layer.
        embedding_std: Standard deviation of fresh random embeddings.
        tie_word_embeddings: The output matrix is the embedding matrix.
        bos_token_id: Id that a document begins with; generation without a prompt starts there.
        eos_token_id: Id, or ids, that end a generated text.
        pad_token_id: Id that fills up a batch of prompts; it may be that of the end.
        **settings: What every transformers configuration takes.

    Raises:
        ValueError: A number is out of its range, or `cell` is not one of those above.

    Example:
        >>> RecurrentLanguageConfig(vocab_size=100, cell="lstm").num_hidden_layers
        1
    """

    model_type = "tutelage_recurrent_lm"
    attribute_map = {"num_hidden_layers": "layers", "vocabulary_size": "vocab_size"}  # noqa: RUF012
    keys_to_ignore_at_inference = ["state"]  # noqa: RUF012

    def __init__(
        self,
        *,
        vocab_size: int = 8000,
        embedding_size: int = LanguageRNN.hidden_size,
        hidden_size: int = LanguageRNN.hidden_size,
        layers: int = LanguageRNN.layers,
        cell: str = LanguageRNN.cell,
        dropout: float = LanguageRNN.dropout,
        embedding_std: float = 0.02,
        tie_word_embeddings: bool = True,
        bos_token_id: int | None = None,
        eos_token_id: int | list[int] | None = None,
        pad_token_id: int | None = None,
        **settings: Any,
    ) -> None:
        if vocab_size < 1:
            raise ValueError(f"vocab_size is {vocab_size}: give a whole number above 0")
        shape = {"embedding_size": embedding_size, "hidden_size": hidden_size, "layers": layers}
        check_values(LanguageRNN, {**shape, "cell": cell, "dropout": dropout})
        self.vocab_size = vocab_size
        self.embedding_size = embedding_size
        self.hidden_size = hidden_size
        self.layers = layers
        self.cell = cell
        self.dropout = dropout
        self.embedding_std = embedding_std
        self.tie_word_embeddings = tie_word_embeddings
        super().__init__(**settings)
        self.bos_token_id = bos_token_id
        self.eos_token_id = eos_token_id
        self.pad_token_id = pad_token_id


class PooledConfig(PretrainedConfig):
    """Shape of a text classifier that pools the states of any encoder or causal language model.

    Args:
        text_config: Of the model whose states are pooled, or its entries, `model_type` among them.
        pooling: How the positions of a text become one vector, each `mean` or `last`; several are
            put side by side.
        plain_norm: States are divided by their root mean square, in the place of the norm that the
            model ends with.
        begin_token_id: A token that stands before every text and is none of it, so that a mean
            leaves it out; None where there is none.
        pad_token_id: Fills short texts.
        **settings: What every transformers configuration takes, for instance `id2label`.

    Raises:
        ValueError: `pooling` names none, or another way to pool.
    """

    model_type = "tutelage_pooled"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012  # pyright: ignore

    def __init__(
        self,
        *,
        text_config: PretrainedConfig | Mapping[str, Any] | None = None,
        pooling: Sequence[str] = ("mean",),
        plain_norm: bool = False,
        begin_token_id: int | None = None,
        pad_token_id: int | None = None,
        **settings: Any,
    ) -> None:
        if not pooling or not set(pooling) <= {"mean", "last"}:
            raise ValueError(f"pooling is {list(pooling)}: give mean, last, or both")
        if text_config is None or isinstance(text_config, Mapping):
            entries = dict(text_config or {"model_type": "bert"})
            text_config = AutoConfig.for_model(**entries)
        self.text_config = text_config
        self.pooling = list(pooling)
        self.plain_norm = plain_norm
        self.begin_token_id = begin_token_id
        rows = settings.pop("vocab_size", None)
        if rows is not None:
            text_config.vocab_size = rows
        super().__init__(**settings)
        # One vocabulary, so one set of special tokens; a causal model pads with what it likes.
        self.pad_token_id = text_config.pad_token_id if pad_token_id is None else pad_token_id
        text_config.pad_token_id = self.pad_token_id

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the model whose states are pooled."""
        return self.text_config.num_hidden_layers

    @property
    def features(self) -> int:
        """Width of the pooled vector that the classifier reads."""
        return self.text_config.hidden_size * len(self.pooling)


def label_names(labels: Sequence[str]) -> tuple[dict[int, str], dict[str, int]]:
    """The two maps between class index and class name that pipelines print from.

    Args:
        labels: Class names in the order of the logits.

    Returns:
        `id2label` and `label2id`.

    Raises:
        ValueError: Fewer than two names, or one of them twice.

    Example:
        >>> label_names(["no", "yes"])
        ({0: 'no', 1: 'yes'}, {'no': 0, 'yes': 1})
    """
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise ValueError(f"labels are {list(labels)}: give at least two, all different")
    return dict(enumerate(labels)), {name: index for index, name in enumerate(labels)}


def are_generic(id2label: Mapping[int, str]) -> bool:
    """True if the names are the placeholders `LABEL_0`, `LABEL_1`, ... that transformers makes
    up.
    """
    return all(name == f"LABEL_{index}" for index, name in id2label.items())
