"""Configuration of the recurrent language model, as it lies in the `config.json` of a saved one.
Needs no torch.
"""

from __future__ import annotations

from typing import Any, get_args

from transformers import PretrainedConfig

from tutelage.students.classifier.configuration import Cell


class RecurrentLanguageConfig(PretrainedConfig):
    """Shape of a recurrent language model.

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
        embedding_size: int = 512,
        hidden_size: int = 512,
        layers: int = 1,
        cell: str = "gru",
        dropout: float = 0.1,
        embedding_std: float = 0.02,
        tie_word_embeddings: bool = True,
        bos_token_id: int | None = None,
        eos_token_id: int | list[int] | None = None,
        pad_token_id: int | None = None,
        **settings: Any,
    ) -> None:
        sizes = {
            "vocab_size": vocab_size,
            "embedding_size": embedding_size,
            "hidden_size": hidden_size,
        }
        for name, value in {**sizes, "layers": layers}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: give a whole number of at least 1")
        if cell not in get_args(Cell):
            raise ValueError(f"cell is {cell!r}: expected one of {', '.join(get_args(Cell))}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: give a share of at least 0 and below 1")
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
