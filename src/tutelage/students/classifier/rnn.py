"""The recurrent student: an LSTM or GRU over token embeddings, pooled into one vector, classified.

In: token ids, right-padded, and their mask. Out: logits for every class, the same whatever the
padding: states of padding never reach the backward direction, the pooling or the classifier.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from tutelage.students.classifier.specs import RNN
from tutelage.students.configurations import RecurrentConfig, label_names


class RecurrentForSequenceClassification(PreTrainedModel):
    """A recurrent text classifier that saves, loads and predicts like any model of transformers.

    A batch without padding runs straight through; in one with padding each direction stops where
    the text does, so that each text gives the logits it gives alone.

    Args:
        config: Shape of the network.

    Example:
        >>> model = RecurrentForSequenceClassification(RecurrentConfig(vocabulary_size=10)).eval()
        >>> model(input_ids=torch.tensor([[3, 4, 5]])).logits.shape
        torch.Size([1, 2])
    """

    config_class = RecurrentConfig
    config: RecurrentConfig
    base_model_prefix = ""
    _input_embed_layer = "embedding"
    _no_split_modules = ["RecurrentForSequenceClassification"]  # noqa: RUF012

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(
            config.vocabulary_size,
            config.embedding_size,
            padding_idx=cast(int, config.pad_token_id),
        )
        recurrent = nn.GRU if config.cell == "gru" else nn.LSTM
        self.recurrent = recurrent(
            config.embedding_size,
            config.hidden_size,
            num_layers=config.layers,
            batch_first=True,
            bidirectional=config.bidirectional,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        width = config.hidden_size * (2 if config.bidirectional else 1)
        self.scorer = (
            nn.Sequential(
                nn.Linear(width, config.hidden_size), nn.Tanh(), nn.Linear(config.hidden_size, 1)
            )
            if config.pooling == "attention"
            else None
        )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.features, cast(int, config.num_labels))
        # Reading a transformers configuration costs microseconds each time, which shows at batch 1.
        self.pooling = config.pooling
        self.pad_token_id = cast(int, config.pad_token_id)
        self.directions = 2 if config.bidirectional else 1
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        return_dict: bool | None = None,
        **unused: Any,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits of every text, and the loss when labels are given.

        A text without any token is read as one token of padding.

        Args:
            input_ids: Token ids, int [B, T], padded on the right.
            attention_mask: 1 at tokens, 0 at padding, [B, T]; None means that nothing is padded.
            labels: Class of every text, int [B]; -100 leaves a text out of the loss.
            inputs_embeds: Embeddings [B, T, E] in place of `input_ids`.
            return_dict: False gives a tuple.
            **unused: Inputs that other models take, such as `token_type_ids`.

        Returns:
            `logits` [B, C], and `loss`, the mean cross-entropy in nats, or None.

        Raises:
            ValueError: No input, or padding that is not on the right.
        """
        del unused
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("neither input_ids nor inputs_embeds given: give one of them")
            if input_ids.shape[1] == 0:
                input_ids = torch.full(
                    (len(input_ids), 1), self.pad_token_id, device=input_ids.device
                )
                attention_mask = None
            inputs_embeds = self.embedding(input_ids)
        states_BTH, ends, mask_BT = self._read(self.dropout(inputs_embeds), attention_mask)
        logits_BC = self.classifier(self.dropout(self._pool(states_BTH, ends, mask_BT)))
        loss = None if labels is None else cross_entropy(logits_BC.float(), labels)
        if return_dict is False:
            return (logits_BC,) if loss is None else (loss, logits_BC)
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=logits_BC)

    def _read(
        self, inputs: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """States of every token, states at the end of each direction, and the mask if anything is
        padded.
        """
        lay_weights_together(self.recurrent, inputs)
        length = inputs.shape[1]
        lengths = None if attention_mask is None else attention_mask.sum(1).clamp_(min=1).cpu()
        if lengths is None or int(lengths.min()) == length:
            states, ends = self.recurrent(inputs)
            return states, ends, None
        positions = torch.arange(length, device=inputs.device)
        mask_BT = positions < lengths.to(inputs.device)[:, None]
        if bool((cast(Tensor, attention_mask).bool() & ~mask_BT).any()):
            raise ValueError(
                "padding stands before or between tokens: set the tokenizer's padding_side to "
                "'right'"
            )
        if inputs.is_cuda:
            packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            states, ends = self.recurrent(packed)
            states, _ = pad_packed_sequence(states, batch_first=True, total_length=length)
            return states, ends, mask_BT
        states, ends = run_padded(self.recurrent, inputs, lengths)
        return states * mask_BT[..., None], ends, mask_BT

    def _pool(self, states: Tensor, ends: Any, mask: Tensor | None) -> Tensor:
        """One vector per text [B, features]; states [B, T, H] at padding are zero, as unpacking
        leaves them.
        """
        match self.pooling:
            case "mean":
                return _mean(states, mask)
            case "max":
                return _max(states, mask)
            case "mean_max":
                return torch.cat([_mean(states, mask), _max(states, mask)], dim=-1)
            case "attention":
                scores_BT = cast(nn.Module, self.scorer)(states).squeeze(-1)
                if mask is not None:
                    scores_BT = scores_BT.masked_fill(~mask, -torch.inf)
                return torch.bmm(scores_BT.softmax(-1)[:, None], states).squeeze(1)
            case "last":
                hidden = ends[0] if isinstance(ends, tuple) else ends
                return torch.cat(list(hidden[-self.directions :]), dim=-1)
            case other:
                raise AssertionError(other)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Random embeddings, Glorot input weights, orthogonal recurrent weights, a forget bias of
        one.
        """
        match module:
            case nn.Embedding():
                init.normal_(module.weight, std=self.config.embedding_std)
                if module.padding_idx is not None and not getattr(
                    module.weight, "_is_hf_initialized", False
                ):
                    init.zeros_(module.weight[module.padding_idx])
            case nn.Linear():
                init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    init.zeros_(module.bias)
            case nn.GRU() | nn.LSTM():
                for name, weight in module.named_parameters():
                    init.copy_(
                        weight, recurrent_start(name, weight, is_lstm=isinstance(module, nn.LSTM))
                    )
            case _:
                pass


def build_rnn(student: RNN, tokenizer: Any, *, seed: int = 0) -> RecurrentForSequenceClassification:
    """A fresh recurrent student with random weights.

    On a CPU an LSTM answers a single text in about half the time of a GRU of the same width.

    Args:
        student: Its sizes and class names.
        tokenizer: The student's own; gives the size of the vocabulary and the id of padding.
        seed: Of the random weights; the global random state is left as it was.

    Returns:
        A model in training mode.
    """
    id2label, label2id = label_names(student.labels)
    config = RecurrentConfig(
        vocabulary_size=len(tokenizer),
        embedding_size=student.embedding_size,
        hidden_size=student.hidden_size,
        layers=student.layers,
        cell=student.cell,
        bidirectional=student.bidirectional,
        pooling=student.pooling,
        dropout=student.dropout,
        pad_token_id=tokenizer.pad_token_id,
        id2label=id2label,
        label2id=label2id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RecurrentForSequenceClassification(config).train()


def run_padded(
    recurrent: nn.GRU | nn.LSTM, inputs: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """A recurrent network over texts padded on the right, without packing them.

    On a CPU packing gives up the fused kernels. Here each direction of each layer runs on its own
    over the padded batch, the backward one over texts turned round within their lengths, so that it
    meets padding last.

    Args:
        recurrent: Batch first, with biases.
        inputs: [B, T, E].
        lengths: Tokens of every text, int [B], at least 1.

    Returns:
        States [B, T, H or 2H], undefined at padding, and the states at the end of each direction of
        the last layer, [1 or 2, B, H].
    """
    positions_BT = torch.arange(inputs.shape[1], device=lengths.device)[None]
    turned_BT = torch.where(
        positions_BT < lengths[:, None], lengths[:, None] - 1 - positions_BT, positions_BT
    )
    rows_B = torch.arange(len(inputs))
    ends: list[Tensor] = []
    for layer in range(recurrent.num_layers):
        states: list[Tensor] = []
        ends = []
        for suffix in ("", "_reverse") if recurrent.bidirectional else ("",):
            given = inputs[rows_B[:, None], turned_BT] if suffix else inputs
            weights = [
                getattr(recurrent, f"{name}_l{layer}{suffix}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            start = inputs.new_zeros(1, len(inputs), recurrent.hidden_size)
            settings = (weights, True, 1, 0.0, recurrent.training, False, True)
            if isinstance(recurrent, nn.LSTM):
                out = torch.lstm(given, (start, start), *settings)[0]
            else:
                out = torch.gru(given, start, *settings)[0]
            ends.append(out[rows_B, lengths - 1])
            states.append(out[rows_B[:, None], turned_BT] if suffix else out)
        inputs = torch.cat(states, dim=-1)
        if layer + 1 < recurrent.num_layers:
            inputs = nn.functional.dropout(inputs, recurrent.dropout, recurrent.training)
    return inputs, torch.stack(ends)


def _mean(states: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return states.mean(1)
    return states.sum(1) / mask.sum(1, keepdim=True)


def _max(states: Tensor, mask: Tensor | None) -> Tensor:
    if mask is not None:
        states = states.masked_fill(~mask[..., None], -torch.inf)
    return states.amax(1)


def lay_weights_together(cell: nn.RNNBase, inputs: Tensor) -> None:
    """Have the weights of a cell in one piece of memory where cuDNN reads it; does nothing where
    they are, or on a CPU.

    Moving a module to a GPU does it; loading weights straight onto one does not. Done on every call
    it would copy all weights each time, and leave whoever holds their old memory with weights of
    the past.
    """
    if (
        inputs.is_cuda
        and len({weight.untyped_storage().data_ptr() for weight in cell.parameters()}) > 1
    ):
        cell.flatten_parameters()


def recurrent_start(name: str, weight: Tensor, *, is_lstm: bool) -> Tensor:
    """First values of one weight of a recurrent layer, every gate on its own: Glorot, orthogonal,
    forget bias one.

    Args:
        name: As PyTorch names it, for instance `weight_hh_l0`.
        weight: Of the right shape, its gates stacked along the first axis; left as it is.
        is_lstm: Four gates, of which the second forgets; else the three of a GRU.

    Returns:
        Values of the shape of `weight`, drawn from the global random state.
    """
    gates = torch.zeros_like(weight).chunk(4 if is_lstm else 3)
    if name.startswith("weight_ih"):
        gates = [nn.init.xavier_uniform_(gate) for gate in gates]
    elif name.startswith("weight_hh"):
        gates = [nn.init.orthogonal_(gate) for gate in gates]
    elif name.startswith("bias_ih") and is_lstm:
        gates = [gates[0], gates[1] + 1, *gates[2:]]  # input, forget, cell, output
    return torch.cat(list(gates))
