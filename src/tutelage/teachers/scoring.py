"""Scores of label spellings after many prompts that share their beginning: fast, and equal to the plain loop.

In: token ids of whole prompts. Out: a log score per label, right up to one constant per row, which cancels when the
classes are normalised (or exact, when the label mass is asked for). Four things make it fast:

- keys and values of the shared beginning are computed once and only ever read;
- prompts are sorted by length and padded on the right. Causal attention never looks right, so what stands there
  changes nothing at the last real position, which alone is read;
- only the rows of the output matrix that spell labels are multiplied. The normaliser over the vocabulary is the same
  for every label at the end of the prompt and cancels; inside a label of several tokens it does not, and is computed;
- labels of several tokens ride along in the same pass as a tree after each prompt, each node seeing its ancestors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from tutelage.teachers.loading import LanguageModel
from tutelage.teachers.output_head import OutputHead
from tutelage.teachers.trie import LabelTrie

_SHORTEST_PREFIX = 8  # below this many shared tokens reuse saves nothing
_KEYS_PER_BATCH_TOKEN = 16  # bounds the keys and values that one batch expands to


class SharedPrefixLayer(DynamicLayer):
    """One layer's keys and values of the shared prefix, [1, heads, P, head size]: read by all, changed by none."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Keep the tensors; they are expanded per batch without a copy."""
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """The prefix followed by a batch's own keys and values; nothing is stored."""
        del args, kwargs
        batch = key_states.shape[0]
        assert self.keys is not None
        assert self.values is not None
        return (
            torch.cat([self.keys.expand(batch, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(batch, -1, -1, -1), value_states], dim=-2),
        )


class LabelScorer:
    """Scores the spellings of a `LabelTrie` after prompts that begin alike."""

    def __init__(
        self,
        language_model: LanguageModel,
        trie: LabelTrie,
        *,
        probes: Sequence[Sequence[int]],
        batch_tokens: int = 4096,
        reuse_prefix: bool = True,
    ) -> None:
        """Find the shared beginning of the probes, run it once, and check the fast way against the plain one.

        Args:
            language_model: With a `causal_lm` head.
            trie: What may follow each prompt.
            probes: Token ids of two or more prompts with different texts; what they share is the prefix.
            batch_tokens: Tokens run at once, padding included.
            reuse_prefix: False runs every prompt whole.

        Raises:
            ModelError: The model has no output matrix, or uses it in an unknown way.
        """
        self.language_model, self.trie, self.batch_tokens = language_model, trie, batch_tokens
        self._model = language_model.model
        self._backbone = self._model.base_model
        self._head = OutputHead.of(self._model)
        self._padding = language_model.tokenizer.pad_token_id
        self._cache_argument = (
            "cache" if "cache" in inspect.signature(self._backbone.forward).parameters else "past_key_values"
        )
        device = language_model.device
        tokens = sorted({token for _, token in trie.edges})
        self._tokens = torch.tensor(tokens, device=device)
        self._edge_nodes = torch.tensor([node for node, _ in trie.edges], device=device)
        self._edge_columns = torch.tensor([tokens.index(token) for _, token in trie.edges], device=device)
        self._path_edges = [torch.tensor(path, device=device) for path in trie.paths]
        self.prefix: tuple[int, ...] = _shared_beginning(probes)
        """Token ids whose keys and values are reused; empty if none are."""
        self._cache: Cache | None = None
        self._start(probes[0], reuse_prefix=reuse_prefix)

    @torch.inference_mode()
    def class_scores(
        self, rows: Sequence[Sequence[int]], *, exact: bool = False, advance: Callable[[int], None] = lambda _: None
    ) -> np.ndarray:
        """Log score of each class after each prompt, in nats.

        Args:
            rows: N prompts as token ids, in any order.
            exact: Also subtract the normaliser at the end of the prompt, so that scores are log-probabilities and their
                exponentials sum to the label mass. Otherwise each row lacks one constant.
            advance: Called with the number of rows just done.

        Returns:
            float32 [N, C]; a class of several spellings has the log of their summed probabilities.
        """
        classes = torch.tensor(self.trie.classes)
        scores_NC = np.zeros((len(rows), int(classes.max()) + 1), dtype=np.float32)
        for indices, hidden in self._hidden(rows):
            edges_BE = self._edge_logprobs(hidden, exact=exact)
            spellings_BS = torch.stack([edges_BE[:, path].sum(-1) for path in self._path_edges], dim=-1)
            per_class = [
                torch.logsumexp(spellings_BS[:, classes == index], dim=-1) for index in range(scores_NC.shape[1])
            ]
            scores_NC[indices] = torch.stack(per_class, dim=-1).cpu().numpy()
            advance(len(indices))
        return scores_NC

    def _edge_logprobs(self, hidden: Tensor, *, exact: bool) -> Tensor:
        """Log-probability of each edge of the trie, [B, E]; edges at the root lack the normaliser unless `exact`."""
        logits_BNK = self._head.logits(hidden, self._tokens)
        edges_BE = logits_BNK[:, self._edge_nodes, self._edge_columns]
        first = 0 if exact else 1
        if hidden.shape[1] > first:
            normaliser_BN = self._head.log_normaliser(hidden[:, first:])
            if first:
                normaliser_BN = torch.nn.functional.pad(normaliser_BN, (first, 0))
            edges_BE = edges_BE - normaliser_BN[:, self._edge_nodes]
        return edges_BE

    def _hidden(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Tensor]]:
        """Final hidden states at every node of the trie, batch by batch: indices of rows, [B, nodes, H]."""
        shared, whole = [], []
        start = len(self.prefix)
        for index, row in enumerate(rows):
            reusable = self._cache is not None and len(row) > start and tuple(row[:start]) == self.prefix
            (shared if reusable else whole).append(index)
        extra = len(self.trie.parents) - 1
        for batch in self._batches(rows, shared, offset=start, extra=extra):
            yield batch, self._after_prefix([rows[index][start:] for index in batch])
        for batch in self._batches(rows, whole, offset=0, extra=extra):
            yield batch, self._whole([rows[index] for index in batch], self.trie.chains)

    def _batches(
        self, rows: Sequence[Sequence[int]], indices: list[int], *, offset: int, extra: int
    ) -> Iterator[list[int]]:
        """Indices cut into batches within the token budget, longest rows first."""
        batch: list[int] = []
        longest = 0
        for index in sorted(indices, key=lambda index: (-len(rows[index]), index)):
            longest = longest or len(rows[index]) - offset + extra
            keys = (longest + offset) * (len(batch) + 1)
            over = longest * (len(batch) + 1) > self.batch_tokens or keys > self.batch_tokens * _KEYS_PER_BATCH_TOKEN
            if batch and over:
                yield batch
                batch, longest = [], len(rows[index]) - offset + extra
            batch.append(index)
        if batch:
            yield batch

    def _after_prefix(self, suffixes: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states at the trie's nodes, reusing the prefix; the nodes follow each padded suffix as a tree."""
        device = self.language_model.device
        ids_BT, lengths_B = self._pad(suffixes)
        batch, width = ids_BT.shape
        depths = torch.tensor(self.trie.depths[1:], device=device)
        nodes = len(depths)
        positions_BT = torch.arange(width, device=device).expand(batch, -1)
        mask = None
        if nodes:
            ids_BT = torch.cat([ids_BT, torch.tensor(self.trie.tokens[1:], device=device).expand(batch, -1)], dim=1)
            positions_BT = torch.cat([positions_BT, lengths_B[:, None] + depths - 1], dim=1)
            mask = self._tree_mask(lengths_B, width)
        hidden_BTH = self._backbone(
            input_ids=ids_BT,
            attention_mask=mask,
            position_ids=positions_BT + len(self.prefix) if nodes else positions_BT[:1] + len(self.prefix),
            use_cache=True,
            **{self._cache_argument: self._cache},
        ).last_hidden_state
        last_B1H = hidden_BTH[torch.arange(batch, device=device), lengths_B - 1][:, None]
        return torch.cat([last_B1H, hidden_BTH[:, width:]], dim=1)

    def _tree_mask(self, lengths: Tensor, width: int) -> Tensor:
        """Who sees whom: prefix, then own suffix causally; tree nodes see prefix, own suffix and their ancestors."""
        device, nodes = lengths.device, len(self.trie.parents) - 1
        start, total = len(self.prefix), width + nodes
        seen = torch.zeros(len(lengths), 1, total, start + total, dtype=torch.bool, device=device)
        seen[..., :start] = True
        seen[:, :, :width, start : start + width] = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        real_BT = torch.arange(width, device=device) < lengths[:, None]
        seen[:, 0, width:, start : start + width] = real_BT[:, None, :]
        for node in range(1, nodes + 1):
            for ancestor in self.trie.ancestors(node):
                seen[:, 0, width + node - 1, start + width + ancestor - 1] = True
        if self._model.config._attn_implementation == "eager":
            dtype = self.language_model.dtype
            return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
        return seen

    def _whole(self, rows: Sequence[Sequence[int]], chains: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states at the root and at the nodes on `chains`, each prompt run whole, once per chain."""
        found: dict[int, Tensor] = {}
        for chain in chains or [[]]:
            ids_BT, ends_B = self._pad([[*row, *(self.trie.tokens[node] for node in chain)] for row in rows])
            hidden_BTH = self._backbone(input_ids=ids_BT, use_cache=False).last_hidden_state
            picks = torch.arange(len(rows), device=ids_BT.device)
            for back, node in enumerate(reversed([0, *chain])):
                found.setdefault(node, hidden_BTH[picks, ends_B - 1 - back])
        return torch.stack([found[node] for node in sorted(found)], dim=1)

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Rows padded on the right, [B, T], and their lengths, [B]."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self._padding, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
        device = self.language_model.device
        return ids.to(device), torch.tensor([len(row) for row in rows], device=device)

    @torch.inference_mode()
    def _start(self, probe: Sequence[int], *, reuse_prefix: bool) -> None:
        """Run the prefix once, check the output head on it, and keep its keys and values if reusing them is exact."""
        begin = list(self.prefix) or list(probe)
        cache = DynamicCache(config=self._model.config)
        seen: list[Tensor] = []
        hook = self._backbone.register_forward_hook(lambda _module, _args, output: seen.append(output[0][0, -1]))
        try:
            options = (
                {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self._model.forward).parameters else {}
            )
            ids = torch.tensor([begin], device=self.language_model.device)
            output = self._model(input_ids=ids, use_cache=True, **{self._cache_argument: cache}, **options)
        finally:
            hook.remove()
        tolerance = 1e-3 if self.language_model.dtype == torch.float32 else 0.25
        self._head.check(seen[0], output.logits[0, -1], tolerance=tolerance)
        plain = all(type(layer) is DynamicLayer for layer in cache.layers)
        standard = bool(getattr(self._model, "_supports_attention_backend", False))
        known = self._model.config._attn_implementation in ("sdpa", "eager")
        if reuse_prefix and plain and standard and known and len(self.prefix) >= _SHORTEST_PREFIX:
            self._cache = Cache(layers=_frozen(cache))
            fast = self._after_prefix([list(probe[len(self.prefix) :])])[0]
            chains = self.trie.chains[:1]
            nodes = [0, *(chains[0] if chains else [])]
            plain_NH = self._whole([list(probe)], chains)[0]
            difference = (
                (self._head.logits(fast[nodes], self._tokens) - self._head.logits(plain_NH, self._tokens)).abs().max()
            )
            if not float(difference) <= tolerance:
                self._cache = None
        if self._cache is None:
            self.prefix = ()


def _frozen(cache: Cache) -> list[Any]:
    """A cache's layers, to be read only."""
    return [SharedPrefixLayer(layer.keys, layer.values) for layer in cast("list[Any]", cache.layers)]


def _shared_beginning(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The longest beginning that all rows share, leaving each at least one token of its own."""
    length = 0
    for tokens in zip(*(row[:-1] for row in rows), strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return tuple(rows[0][:length])
