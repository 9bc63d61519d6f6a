"""The language-model teacher: final hidden states of documents, and the output matrix that makes
distributions of them.

In: documents. Out: the states at the positions that predict trained tokens. Each document is read
alone, padded on the right: attention is causal, so no token sees the padding and no mask is needed.
Batches of other shapes change the last bits of a float32 state (the processor sums in another
order), so targets are the same from run to run only to about 1e-6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError, ModelError
from tutelage.models.computing import length_batches, pad
from tutelage.models.facts import context_tokens
from tutelage.models.loading import LanguageModel
from tutelage.models.output import output_layer
from tutelage.models.reading import padding_id, tokenizer_fingerprint
from tutelage.runs import fingerprint
from tutelage.types import Document

CHUNK_ELEMENTS = 2**23
"""Logits held at once."""
_PROBE_TOKENS = 8
_TOLERANCE = 2e-2
_BROAD_TOLERANCE = 0.5  # of logits in bfloat16


class CausalTeacher:
    """A causal language model that says how likely every token is next.

    Args:
        language_model: Loaded with its causal head.
        sequence_length: The longest document it will be given; None takes what the model can read.
        batch_tokens: Tokens read at once, padding included.

    Raises:
        ModelError: The model makes its logits in a way that is not known here, or reads fewer
            tokens than asked for.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        *,
        sequence_length: int | None = None,
        batch_tokens: int = 4096,
    ) -> None:
        self.language_model = language_model
        self.tokenizer = language_model.tokenizer
        self.batch_tokens = batch_tokens
        self.head = output_layer(language_model.model)
        context = context_tokens(language_model.model.config)
        self.context = context if context is not None else sequence_length
        if sequence_length is not None and context is not None and sequence_length > context:
            raise ModelError(
                f"{language_model.name} reads at most {context} tokens but sequence_length is "
                f"{sequence_length}: "
                "lower it"
            )
        rows = self.head.weight.shape[0]
        self.vocabulary = min(len(self.tokenizer), rows)
        self._check_head()

    @property
    def fingerprint(self) -> str:
        """Names the weights and their precision: what the soft targets depend on."""
        return fingerprint(
            "causal teacher", self.language_model.fingerprint, str(self.language_model.dtype)
        )

    @property
    def tokenizer_fingerprint(self) -> str:
        """Names the tokenizer by what it does to text."""
        return tokenizer_fingerprint(self.tokenizer)

    @property
    def padding_id(self) -> int:
        """Fills short rows, which nobody looks at: the padding token, or another where the model
        has no row for it.
        """
        return padding_id(self.tokenizer, self.vocabulary)

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        return self.language_model.parameters

    @property
    def disk_bytes(self) -> int:
        """Size of the weights in the precision they are used in."""
        return self.language_model.disk_bytes

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.device

    def hidden_states(self, documents: Sequence[Document]) -> list[Tensor]:
        """Final states, after the last norm, at the positions that predict trained tokens.

        Args:
            documents: In any order.

        Returns:
            For each document float32 [P, H], P its trained tokens.

        Raises:
            DataError: A document is longer than the model can read.
            ModelError: A state is not a number.
        """
        found: list[Tensor | None] = [None] * len(documents)
        for batch in self.batches(documents):
            for index, states in zip(
                batch, self.read([documents[index] for index in batch]), strict=True
            ):
                found[index] = states
        return [states for states in found if states is not None]

    def batches(self, documents: Sequence[Document]) -> Iterator[list[int]]:
        """Places of documents in batches of similar length, longest first.

        Raises:
            DataError: A document is longer than the model can read; it is named, and nothing was
                computed.
        """
        for document in documents:
            if self.context is not None and len(document.token_ids) > self.context:
                raise DataError(
                    f"{document.source or 'a document'} row {document.row} has "
                    f"{len(document.token_ids)} tokens but "
                    f"{self.language_model.name} reads at most {self.context}: split or truncate "
                    "it "
                    "(task.long_documents)"
                )
        lengths = [len(document.token_ids) for document in documents]
        yield from length_batches(lengths, batch_tokens=self.batch_tokens, device=self.device)

    @torch.inference_mode()
    def read(self, documents: Sequence[Document]) -> list[Tensor]:
        """As `hidden_states`, of documents that make one batch."""
        ids_BT, _ = pad(
            [document.token_ids.tolist() for document in documents],
            self.padding_id,
            device=self.device,
        )
        states_BTH = self.language_model.model.base_model(
            input_ids=ids_BT, use_cache=False
        ).last_hidden_state
        found = []
        for states_TH, document in zip(states_BTH, documents, strict=True):
            places = torch.from_numpy(document.trained[1:].nonzero()[0]).to(states_TH.device)
            states_PH = states_TH[places].float()
            if not bool(torch.isfinite(states_PH).all()):
                raise ModelError(
                    f"{self.language_model.name} gave a hidden state that is not a number for "
                    f"{document.source or 'the document'} row {document.row}. Try teacher.dtype: "
                    "float32"
                )
            found.append(states_PH)
        return found

    def logits(self, states: Tensor) -> Tensor:
        """Logits over the ids that the tokenizer makes, float32 [..., V]; padding rows of the
        matrix are cut off.
        """
        return self.head.logits(states)[..., : self.vocabulary]

    @torch.inference_mode()
    def _check_head(self) -> None:
        """Make sure that states times matrix are the model's own logits."""
        model: Any = self.language_model.model
        ids = torch.arange(min(_PROBE_TOKENS, self.vocabulary), device=self.device)[None]
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        expected = model(input_ids=ids, use_cache=False).logits
        tolerance = _TOLERANCE if self.head.weight.dtype == torch.float32 else _BROAD_TOLERANCE
        self.head.check(
            states,
            expected,
            tolerance=tolerance,
            name=self.language_model.name,
            advice="take a stock causal language model as the teacher",
        )
