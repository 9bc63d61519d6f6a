"""The static student as torch trains it: vectors of tokens and of pairs of them, their weighted
mean, a small network.

In: token ids, right-padded, and their mask. Out: logits for every class. `model.py` beside this
file gives the same answers without torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from operator import itemgetter
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

from tutelage.students.classifier.static.spec import Static
from tutelage.students.configurations import StaticConfig, label_names
from tutelage.students.vocabulary.token_vectors import token_texts

COMMON = 1e-2
"""The share of all tokens from which on a token counts as common: one this frequent has half the
first weight of a rare one."""
FEWEST_PAIRS = 4
"""How often a pair of tokens must occur to have a vector."""


class StaticForSequenceClassification(PreTrainedModel):
    """A text classifier that knows of the order of words no more than common neighbours: saves,
    loads and predicts like any model of transformers.

    With weights w and vectors v of the tokens of a text and of the pairs among them, the mean is
    sum(w v) / sum(w), zero for a text without tokens. A hidden layer reads it normalised (layer
    normalisation), without one the scores are linear in it. `pairs` [N] holds for each pair its
    first token times the vocabulary's size plus its second, in ascending order.

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
        rows = config.vocabulary_size + config.bigrams
        self.embedding = nn.Embedding(rows, config.size, padding_idx=cast(int, config.pad_token_id))
        self.log_weights = nn.Parameter(torch.zeros(rows))
        self.register_buffer("pairs", torch.zeros(config.bigrams, dtype=torch.int64))
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
            input_ids: Token ids, int [B, T], padded on the right.
            attention_mask: 1 at tokens, 0 at padding, [B, T]; None means that nothing is padded.
            labels: Class of every text, int [B]; -100 leaves a text out of the loss.
            return_dict: False gives a tuple.
            **unused: Inputs that other models take, such as `token_type_ids`.

        Returns:
            `logits` [B, C], and `loss`, the mean cross-entropy in nats, or None.
        """
        del unused
        rows, counted = self._terms(input_ids, attention_mask)
        weights = self.log_weights[rows].exp() * counted
        sums_BH = torch.bmm(weights[:, None], self.embedding(rows)).squeeze(1)
        totals_B1 = weights.sum(1, keepdim=True)
        states = sums_BH / totals_B1.clamp_min(torch.finfo(totals_B1.dtype).tiny)
        if self.hidden is not None:
            states = self.dropout(cast(nn.LayerNorm, self.norm)(states))
            states = self.hidden(states).relu()
        logits_BC = self.classifier(self.dropout(states))
        loss = None if labels is None else cross_entropy(logits_BC.float(), labels)
        if return_dict is False:
            return (logits_BC,) if loss is None else (loss, logits_BC)
        return SequenceClassifierOutput(loss=cast(Any, loss), logits=logits_BC)

    def _terms(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The rows of tokens and of pairs, and which of them count."""
        counted = torch.ones_like(ids) if mask is None else mask
        pairs, tokens = cast(Tensor, self.pairs), self.config.vocabulary_size
        if not len(pairs):
            return ids, counted
        keys = ids[:, :-1] * tokens + ids[:, 1:]
        places = torch.searchsorted(pairs, keys).clamp_max(len(pairs) - 1)
        known = (pairs[places] == keys) * counted[:, 1:]
        return torch.cat([ids, places + tokens], 1), torch.cat([counted, known], 1)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Random vectors, equal weights of tokens, matrices as torch itself begins them."""
        match module:
            case nn.Embedding():
                init.normal_(module.weight, std=Static.spread)
                if not getattr(module.weight, "_is_hf_initialized", False):
                    init.zeros_(module.weight[cast(int, module.padding_idx)])
            case nn.Linear():
                init.kaiming_uniform_(module.weight, a=sqrt(5))
                init.zeros_(module.bias)
            case nn.LayerNorm():
                init.ones_(module.weight)
                init.zeros_(module.bias)
            case StaticForSequenceClassification():
                init.zeros_(module.log_weights)
            case _:
                pass


def build_static(
    student: Static,
    tokenizer: Any,
    tokens: Tensor,
    pairs: Mapping[tuple[int, int], int],
    *,
    seed: int = 0,
) -> StaticForSequenceClassification:
    """A fresh static student: random vectors of tokens, none yet of pairs, weights by rarity.

    Args:
        student: Its sizes and class names.
        tokenizer: The student's own; gives the size of the vocabulary and the id of padding.
        tokens: From `count_terms`.
        pairs: From `count_terms`.
        seed: Of the random weights; the global random state is left as it was.

    Returns:
        A model in training mode.
    """
    id2label, label2id = label_names(student.labels)
    config = StaticConfig(
        vocabulary_size=len(tokenizer),
        bigrams=len(pairs),
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
    counts = torch.cat([tokens, torch.tensor([*pairs.values()], dtype=tokens.dtype)])
    keys = [first * len(tokenizer) + second for first, second in pairs]
    with torch.no_grad():
        model.log_weights.copy_(rarity(counts, total=float(tokens.sum())).log())
        model.embedding.weight[len(tokenizer) :] = 0
        model.pairs.copy_(torch.tensor(keys, dtype=torch.int64))  # pyright: ignore
    return model


def count_terms(
    tokenizer: Any, texts: Sequence[str], *, most_pairs: int
) -> tuple[Tensor, dict[tuple[int, int], int]]:
    """How often tokens and pairs of neighbours stand in texts.

    Args:
        tokenizer: V tokens; truncates at its `model_max_length`.
        texts: Where they are counted.
        most_pairs: The commonest pairs of tokens that have text are kept, equal ones by their ids.

    Returns:
        Counts of tokens, float32 [V]; of pairs that occur at least `FEWEST_PAIRS` times, in
        ascending order of ids.
    """
    rows = tokenizer(list(texts), truncation=True, split_special_tokens=True)["input_ids"]
    counts = torch.zeros(len(tokenizer))
    flat = torch.tensor([token for row in rows for token in row], dtype=torch.long)
    counts.index_add_(0, flat, torch.ones(len(flat)))
    if not most_pairs:
        return counts, {}
    told = token_texts(tokenizer)
    pairs = Counter(pair for row in rows for pair in pairwise(row))
    common = sorted(
        (-count, pair)
        for pair, count in pairs.items()
        if count >= FEWEST_PAIRS and all(told[token] for token in pair)
    )
    return counts, {pair: -count for count, pair in sorted(common[:most_pairs], key=itemgetter(1))}


def rarity(counts: Tensor, *, total: float) -> Tensor:
    """The first weight of every token or pair, `a / (a + p)` with p its share of all tokens.

    One that is nowhere in the texts counts as if it stood there once.

    Args:
        counts: How often each occurs.
        total: Tokens in all.

    Returns:
        float32 in the shape of `counts`, in (0, 1].

    Source: smooth inverse frequency, Arora, Liang, Ma 2017 (ICLR, "A simple but tough-to-beat
        baseline for sentence embeddings"), section 3, which model2vec (Minish Lab 2024) gives to
        static vectors out of a language model. There a is 1e-3 to 1e-4 and weights stay; here they
        are trained further from a = 1e-2, which did better (docs/log.md).
    """
    return COMMON / (COMMON + counts.clamp_min(1) / max(1.0, total))
