"""A classifier on the pooled states of any encoder or causal language model, as a teacher with a
linear head reads its own.

In: token ids, right-padded, and their mask. Out: logits for every class.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, rms_norm
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from tutelage.students.configurations import PooledConfig

_EPSILON = 1e-6
LAST_NORMS = {"norm", "final_norm", "ln_f"}
"""Names of the norm that a model ends with."""


class PooledForSequenceClassification(PreTrainedModel):
    """A text classifier that saves, loads and predicts like any model of transformers.

    Args:
        config: Shape of the network.

    Source: the pooling is that of `teachers.classifier.features`, so that a student with all layers
        and the head of its teacher answers as it does.
    """

    config_class = PooledConfig
    config: PooledConfig
    base_model_prefix = "model"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: PooledConfig) -> None:
        super().__init__(config)
        self.model = AutoModel.from_config(config.text_config)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # which only another head would read
        if config.plain_norm:
            for name in LAST_NORMS & dict(self.model.named_children()).keys():
                setattr(self.model, name, nn.Identity())
        self.score = nn.Linear(config.features, cast(int, config.num_labels))
        self._without_cache = (
            {"use_cache": False}
            if "use_cache" in inspect.signature(self.model.forward).parameters
            else {}
        )
        self.post_init()

    def get_input_embeddings(self) -> Any:
        """Those of the model whose states are pooled."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: Any) -> None:
        """Those of the model whose states are pooled."""
        self.model.set_input_embeddings(value)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
        return_dict: bool | None = None,
        **unused: Any,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits of every text, and the loss when labels are given.

        Args:
            input_ids: Token ids, int [B, T], padded on the right.
            attention_mask: 1 at tokens, 0 at padding, [B, T]; None means that nothing is padded.
            labels: Class of every text, int [B]; -100 leaves a text out of the loss.
            inputs_embeds: Embeddings [B, T, E] in place of `input_ids`.
            output_hidden_states: Also give the states of every layer.
            return_dict: False gives a tuple.
            **unused: Inputs that other models take, such as `token_type_ids`.

        Returns:
            `logits` [B, C], `loss`, the mean cross-entropy in nats, or None, and `hidden_states`.

        Raises:
            ValueError: No input.
        """
        del unused
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is None:
            raise ValueError("neither input_ids nor inputs_embeds given: give one of them")
        read = self.model(
            **({"input_ids": input_ids} if inputs_embeds is None else {}),
            **({} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}),
            attention_mask=attention_mask,
            output_hidden_states=output_hidden_states,
            **self._without_cache,
        )
        states_BTH: Tensor = read[0]
        if self.config.plain_norm:
            states_BTH = rms_norm(states_BTH, states_BTH.shape[-1:], eps=_EPSILON)
        if attention_mask is None:
            real_BT = torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
        else:
            real_BT = attention_mask > 0
        logits = self.score(self._pooled(states_BTH, real_BT, input_ids))
        loss = None if labels is None else cross_entropy(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return SequenceClassifierOutput(
            loss=cast(Any, loss),
            logits=logits,
            hidden_states=read.hidden_states if output_hidden_states else None,
        )

    def _pooled(self, states: Tensor, real: Tensor, ids: Tensor | None) -> Tensor:
        """One vector for every text, [B, D], of states [B, T, H]; `real` [B, T] is no padding."""
        lengths_B = real.sum(1).clamp_min(1)
        parts = []
        for how in self.config.pooling:
            if how == "last":
                rows = torch.arange(len(states), device=states.device)
                parts.append(states[rows, lengths_B - 1])
                continue
            text_BT = real.clone()  # not the begin token, unless there is nothing else
            begin = self.config.begin_token_id
            if begin is not None:
                begun = torch.ones_like(lengths_B) if ids is None else ids[:, 0] == begin
                text_BT[:, 0] &= (begun == 0) | (lengths_B == 1)
            total_BH = torch.einsum("bth,bt->bh", states, text_BT.to(states.dtype))
            parts.append(total_BH / text_BT.sum(1, keepdim=True).clamp_min(1))
        return torch.cat(parts, dim=-1)
