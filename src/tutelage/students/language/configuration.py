"""Configuration of the recurrent language model, as it lies in the `config.json` of a saved one.
Needs no torch.
"""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from tutelage.config.ranges import check_values
from tutelage.students.language.specs import LanguageRNN


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
