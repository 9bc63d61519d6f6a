"""Configuration of the recurrent student, as it lies in the `config.json` of a saved one. Needs no
torch.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from transformers import PretrainedConfig

Cell = Literal["gru", "lstm"]
Pooling = Literal["mean", "max", "mean_max", "attention", "last"]


class RecurrentConfig(PretrainedConfig):
    """Shape of a recurrent text classifier.

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
        vocabulary_size: int = 8000,
        embedding_size: int = 128,
        hidden_size: int = 128,
        layers: int = 1,
        cell: str = "gru",
        bidirectional: bool = True,
        pooling: str = "mean_max",
        dropout: float = 0.3,
        embedding_std: float = 0.5,
        pad_token_id: int = 0,
        **settings: Any,
    ) -> None:
        sizes = {
            "vocabulary_size": vocabulary_size,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
        }
        for name, value in {**sizes, "layers": layers}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: give a whole number of at least 1")
        if cell not in get_args(Cell):
            raise ValueError(f"cell is {cell!r}: expected one of {', '.join(get_args(Cell))}")
        if pooling not in get_args(Pooling):
            raise ValueError(
                f"pooling is {pooling!r}: expected one of {', '.join(get_args(Pooling))}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: give a share of at least 0 and below 1")
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
