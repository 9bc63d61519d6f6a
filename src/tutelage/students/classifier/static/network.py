"""The static student as torch trains it: token vectors, their weighted mean, a small network.

In: token ids, padded anywhere, and their mask. Out: logits for every class. `model.py` beside this
file gives the same answers without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from tutelage.students.classifier.static.spec import Static
from tutelage.students.configurations import StaticConfig, label_names

COMMON = 1e-2
"""The share of all tokens from which on a token counts as common: one this frequent has half the
first weight of a rare one."""


class StaticForSequenceClassification(PreTrainedModel):
    """A text classifier without any order of words: saves, loads and predicts like any model of
    transformers.

    With weights w and vectors v of the tokens of a text, the mean is sum(w v) / sum(w), zero for a
    text without tokens. A hidden layer reads it normalised (layer normalisation), without one the
    scores are linear in it.

    Args:
        config: Shape of the network.

    Example:
        >>> model = StaticForSequenceClassification(StaticConfig(vocabulary_size=10)).eval()
        >>> model(input_ids=torch.tensor([[3, 4, 5]])).logits.shape
        torch.Size([1, 2])
    """

    config_class = StaticConfig
    config: StaticConfig
    base_model_prefix = ""
    _input_embed_layer = "embedding"
    _no_split_modules = ["StaticForSequenceClassification"]  # noqa: RUF012

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(
            config.vocabulary_size, config.size, padding_idx=cast(int, config.pad_token_id)
        )
        self.log_weights = nn.Parameter(torch.zeros(config.vocabulary_size))
        self.norm = nn.LayerNorm(config.size) if config.hidden else None
        self.hidden = nn.Linear(config.size, config.hidden) if config.hidden else None
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden or config.size, cast(int, config.num_labels))
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **unused: Any,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Logits of every text, and the loss when labels are given.

        Args:
            input_ids: Token ids, int [B, T].
            attention_mask: 1 at tokens, 0 at padding, [B, T]; None means that nothing is padded.
            labels: Class of every text, int [B]; -100 leaves a text out of the loss.
            return_dict: False gives a tuple.
            **unused: Inputs that other models take, such as `token_type_ids`.

        Returns:
            `logits` [B, C], and `loss`, the mean cross-entropy in nats, or None.
        """
        del unused
        weights_BT = self.log_weights[input_ids].exp()
        if attention_mask is not None:
            weights_BT = weights_BT * attention_mask
        sums_BH = torch.bmm(weights_BT[:, None], self.embedding(input_ids)).squeeze(1)
        totals_B1 = weights_BT.sum(1, keepdim=True)
        states = sums_BH / totals_B1.clamp_min(torch.finfo(totals_B1.dtype).tiny)
        if self.hidden is not None:
            states = self.dropout(cast(nn.LayerNorm, self.norm)(states))
            states = self.hidden(states).relu()
        logits_BC = self.classifier(self.dropout(states))
        loss = None if labels is None else cross_entropy(logits_BC.float(), labels)
        if return_dict is False:
            return (logits_BC,) if loss is None else (loss, logits_BC)
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=logits_BC)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Random vectors, equal weights of tokens, Glorot matrices."""
        match module:
            case nn.Embedding():
                init.normal_(module.weight, std=Static.spread)
                if not getattr(module.weight, "_is_hf_initialized", False):
                    init.zeros_(module.weight[cast(int, module.padding_idx)])
            case nn.Linear():
                init.xavier_uniform_(module.weight)
                init.zeros_(module.bias)
            case nn.LayerNorm():
                init.ones_(module.weight)
                init.zeros_(module.bias)
            case StaticForSequenceClassification():
                init.zeros_(module.log_weights)
            case _:
                pass


def build_static(
    student: Static, tokenizer: Any, *, texts: Sequence[str], seed: int = 0
) -> StaticForSequenceClassification:
    """A fresh static student with random vectors, its tokens weighted by how rare they are.

    Args:
        student: Its sizes and class names.
        tokenizer: The student's own; gives the size of the vocabulary and the id of padding.
        texts: Where tokens are counted.
        seed: Of the random weights; the global random state is left as it was.

    Returns:
        A model in training mode.
    """
    id2label, label2id = label_names(student.labels)
    config = StaticConfig(
        vocabulary_size=len(tokenizer),
        size=student.size,
        hidden=student.hidden,
        dropout=student.dropout,
        pad_token_id=tokenizer.pad_token_id,
        id2label=id2label,
        label2id=label2id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StaticForSequenceClassification(config).train()
    with torch.no_grad():
        model.log_weights.copy_(rarity(tokenizer, texts).log())
    return model


def rarity(tokenizer: Any, texts: Sequence[str]) -> Tensor:
    """The first weight of every token, `a / (a + p)` with p its share of all tokens of the texts.

    A token that is nowhere in the texts counts as if it stood there once.

    Args:
        tokenizer: V tokens; truncates at its `model_max_length`.
        texts: Where they are counted.

    Returns:
        float32 [V], in (0, 1].

    Source: smooth inverse frequency, Arora, Liang, Ma 2017 (ICLR, "A simple but tough-to-beat
        baseline for sentence embeddings"), section 3, which model2vec (Minish Lab 2024) gives to
        static vectors out of a language model. There a is 1e-3 to 1e-4 and weights stay; here they
        are trained further from a = 1e-2, which did better (docs/log.md).
    """
    counts = torch.zeros(len(tokenizer))
    ids = tokenizer(list(texts), truncation=True, split_special_tokens=True)["input_ids"]
    flat = torch.tensor([token for row in ids for token in row], dtype=torch.long)
    counts.index_add_(0, flat, torch.ones(len(flat)))
    counts.clamp_min_(1)
    return COMMON / (COMMON + counts / counts.sum())
