"""Configuration of the recurrent student, as it lies in the `config.json` of a saved one. Needs no
torch.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from tutelage.config.ranges import check_values
from tutelage.students.classifier.specs import RNN


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
