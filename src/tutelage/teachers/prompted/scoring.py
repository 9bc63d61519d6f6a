"""Scores of label spellings after many prompts that share their beginning: fast, and equal to the
plain loop.

In: token ids of whole prompts. Out: a log score per label, right up to one constant per row, which
cancels when the classes are normalised (or exact, when the label mass is asked for). Four things
make it fast:

- keys and values of the shared beginning are computed once and only ever read;
- prompts are sorted by length and padded on the right. Causal attention never looks right, so what
  stands there changes nothing at the last real position, which alone is read;
- only the rows of the output matrix that spell labels are multiplied. The normaliser over the
  vocabulary is the same for every label at the end of the prompt and cancels; inside a label of
  several tokens it does not, and is computed;
- labels of several tokens ride along in the same pass as a tree after each prompt, each node seeing
  its ancestors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from tutelage.models.attention import asks_for_its_attention
from tutelage.models.computing import length_batches, pad
from tutelage.models.loading import LanguageModel
from tutelage.models.output import output_layer
from tutelage.teachers.prompted.questions import LabelTrie
from tutelage.teachers.prompted.shared_prefix import freeze, run_after_prefix

_SHORTEST_PREFIX = 8  # below this many shared tokens reuse saves nothing
SCORE_ELEMENTS = 2**26
"""Attention scores that one batch may hold in a layer: 256 MB in float32."""


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
        score_elements: int = SCORE_ELEMENTS,
    ) -> None:
        """Find the shared beginning of the probes, run it once, and check the fast way against the
        plain one.

        Args:
            language_model: With a `causal_lm` head.
            trie: What may follow each prompt.
            probes: Token ids of two or more prompts with different texts; what they share is the
                prefix.
            batch_tokens: Tokens run at once, padding included.
            reuse_prefix: False runs every prompt whole.
            score_elements: Attention scores that one batch may hold in a layer.

        Raises:
            ModelError: The model has no output matrix, or uses it in an unknown way.
        """
        self.language_model, self.trie, self.batch_tokens = language_model, trie, batch_tokens
        self._score_elements = score_elements
        self._model = language_model.model
        self._backbone = self._model.base_model
        self._head = output_layer(self._model)
        self._padding = language_model.tokenizer.pad_token_id
        device = language_model.device
        tokens = sorted({token for _, token in trie.edges})
        self._tokens = torch.tensor(tokens, device=device)
        self._edge_nodes = torch.tensor([node for node, _ in trie.edges], device=device)
        self._edge_columns = torch.tensor(
            [tokens.index(token) for _, token in trie.edges], device=device
        )
        self._path_edges = [torch.tensor(path, device=device) for path in trie.paths]
        self.prefix: tuple[int, ...] = _shared_beginning(probes)
        """Token ids whose keys and values are reused; empty if none are."""
        self._cache: Cache | None = None
        self._start(probes[0], reuse_prefix=reuse_prefix)

    @torch.inference_mode()
    def class_scores(
        self,
        rows: Sequence[Sequence[int]],
        *,
        exact: bool = False,
        advance: Callable[[int], None] = lambda _: None,
    ) -> np.ndarray:
        """Log score of each class after each prompt, in nats.

        Args:
            rows: N prompts as token ids, in any order.
            exact: Also subtract the normaliser at the end of the prompt, so that scores are
                log-probabilities and their exponentials sum to the label mass. Otherwise each row
                lacks one constant.
            advance: Called with the number of rows just done.

        Returns:
            float32 [N, C]; a class of several spellings has the log of their summed probabilities.
        """
        classes = torch.tensor(self.trie.classes)
        scores_NC = np.zeros((len(rows), int(classes.max()) + 1), dtype=np.float32)
        for indices, hidden in self._hidden(rows):
            edges_BE = self._edge_logprobs(hidden, exact=exact)
            spellings_BS = torch.stack(
                [edges_BE[:, path].sum(-1) for path in self._path_edges], dim=-1
            )
            per_class = [
                torch.logsumexp(spellings_BS[:, classes == index], dim=-1)
                for index in range(scores_NC.shape[1])
            ]
            scores_NC[indices] = torch.stack(per_class, dim=-1).cpu().numpy()
            advance(len(indices))
        return scores_NC

    def _edge_logprobs(self, hidden: Tensor, *, exact: bool) -> Tensor:
        """Log-probability of each edge of the trie, [B, E]; edges at the root lack the normaliser
        unless `exact`.
        """
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
        """Final hidden states at every node of the trie, batch by batch: indices of rows, [B,
        nodes, H].
        """
        shared, whole = [], []
        start = len(self.prefix)
        for index, row in enumerate(rows):
            reusable = (
                self._cache is not None and len(row) > start and tuple(row[:start]) == self.prefix
            )
            (shared if reusable else whole).append(index)
        for batch in self._batches([len(rows[index]) - start for index in shared], offset=start):
            indices = [shared[place] for place in batch]
            yield indices, self._after_prefix([rows[index][start:] for index in indices])
        for batch in self._batches([len(rows[index]) for index in whole], offset=0):
            indices = [whole[place] for place in batch]
            yield indices, self._whole([rows[index] for index in indices], self.trie.chains)

    def _batches(self, lengths: Sequence[int], *, offset: int) -> Iterator[list[int]]:
        """Rows of given own lengths cut into batches; the nodes of the trie count as tokens of each
        row.
        """
        heads = int(self._model.config.get_text_config().num_attention_heads)
        nodes = len(self.trie.parents) - 1
        return length_batches(
            [length + nodes for length in lengths],
            batch_tokens=self.batch_tokens,
            device=self.language_model.device,
            fits=lambda rows, width: (
                rows * width * (width + offset) * heads <= self._score_elements
            ),
        )

    def _after_prefix(self, suffixes: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states at the trie's nodes, reusing the prefix; the nodes follow each padded
        suffix as a tree.
        """
        assert self._cache is not None
        device = self.language_model.device
        ids_BT, lengths_B = pad(suffixes, self._padding, device=device)
        batch, width = ids_BT.shape
        depths = torch.tensor(self.trie.depths[1:], device=device)
        positions = torch.arange(width, device=device)[None]
        if len(depths):
            ids_BT = torch.cat(
                [ids_BT, torch.tensor(self.trie.tokens[1:], device=device).expand(batch, -1)], dim=1
            )
            positions = torch.cat(
                [positions.expand(batch, -1), lengths_B[:, None] + depths - 1], dim=1
            )
        hidden_BTH = run_after_prefix(
            self._backbone,
            self._cache,
            ids=ids_BT,
            positions=positions + len(self.prefix),
            seen=self._seen(lengths_B, width),
        )
        last_B1H = hidden_BTH[torch.arange(batch, device=device), lengths_B - 1][:, None]
        return torch.cat([last_B1H, hidden_BTH[:, width:]], dim=1)

    def _seen(self, lengths: Tensor, width: int) -> Tensor:
        """Who sees whom: suffix tokens those before them; tree nodes their own suffix and their
        ancestors.
        """
        device, nodes = lengths.device, len(self.trie.parents) - 1
        causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        if not nodes:
            return causal
        seen = torch.zeros(
            len(lengths), 1, 1, width + nodes, width + nodes, dtype=torch.bool, device=device
        )
        seen[..., :width, :width] = causal
        real_BT = torch.arange(width, device=device) < lengths[:, None]
        seen[:, 0, 0, width:, :width] = real_BT[:, None, :]
        for node in range(1, nodes + 1):
            for ancestor in self.trie.ancestors(node):
                seen[..., width + node - 1, width + ancestor - 1] = True
        return seen

    def _whole(self, rows: Sequence[Sequence[int]], chains: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states at the root and at the nodes on `chains`, each prompt run whole, once per
        chain.
        """
        found: dict[int, Tensor] = {}
        for chain in chains or [[]]:
            ids_BT, ends_B = pad(
                [[*row, *(self.trie.tokens[node] for node in chain)] for row in rows],
                self._padding,
                device=self.language_model.device,
            )
            hidden_BTH = self._backbone(input_ids=ids_BT, use_cache=False).last_hidden_state
            picks = torch.arange(len(rows), device=ids_BT.device)
            for back, node in enumerate(reversed([0, *chain])):
                found.setdefault(node, hidden_BTH[picks, ends_B - 1 - back])
        return torch.stack([found[node] for node in sorted(found)], dim=1)

    @torch.inference_mode()
    def _start(self, probe: Sequence[int], *, reuse_prefix: bool) -> None:
        """Run the prefix once, check the output head on it, and keep its keys and values if reusing
        them is exact.
        """
        begin = list(self.prefix) or list(probe)
        cache = DynamicCache(config=self._model.config)
        seen: list[Tensor] = []
        hook = self._backbone.register_forward_hook(
            lambda _module, _args, output: seen.append(output[0][0, -1])
        )
        try:
            options = (
                {"logits_to_keep": 1}
                if "logits_to_keep" in inspect.signature(self._model.forward).parameters
                else {}
            )
            ids = torch.tensor([begin], device=self.language_model.device)
            argument = (
                "cache"
                if "cache" in inspect.signature(self._model.forward).parameters
                else "past_key_values"
            )
            output = self._model(input_ids=ids, use_cache=True, **{argument: cache}, **options)
        finally:
            hook.remove()
        tolerance = 1e-3 if self.language_model.dtype == torch.float32 else 0.25
        self._head.check(
            seen[0],
            output.logits[0, -1],
            tolerance=tolerance,
            name=self.language_model.name,
            advice="use kind: classifier with it",
        )
        standard = asks_for_its_attention(self._model)
        if reuse_prefix and standard and len(self.prefix) >= _SHORTEST_PREFIX:
            self._cache = freeze(cache)
        if self._cache is not None and not self._agree(probe, tolerance):
            self._cache = None
        if self._cache is None:
            self.prefix = ()

    def _agree(self, probe: Sequence[int], tolerance: float) -> bool:
        """True if a prompt gets the same logits after the shared prefix as when it is run whole."""
        chains = self.trie.chains[:1]
        nodes = [0, *(chains[0] if chains else [])]
        shared_NH = self._after_prefix([list(probe[len(self.prefix) :])])[0, nodes]
        whole_NH = self._whole([list(probe)], chains)[0]
        difference = (
            (self._head.logits(shared_NH, self._tokens) - self._head.logits(whole_NH, self._tokens))
            .abs()
            .max()
        )
        return float(difference) <= tolerance


def _shared_beginning(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The longest beginning that all rows share, leaving each at least one token of its own."""
    length = 0
    for tokens in zip(*(row[:-1] for row in rows), strict=False):
        if len(set(tokens)) > 1:
            break
        length += 1
    return tuple(rows[0][:length])
