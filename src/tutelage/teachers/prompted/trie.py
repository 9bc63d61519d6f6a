"""The token sequences of a closed set of labels, arranged so that shared beginnings are scored
once.

In: token ids of each label's spellings. Out: a `LabelTrie`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tutelage.errors import ModelError


@dataclass(frozen=True)
class LabelTrie:
    """The token sequences of all label spellings, sharing their beginnings.

    Node 0 is the end of the prompt. Every other node is a label prefix that some longer label
    continues; the model must be run on it. Each edge (node, token) has a log-probability; a
    spelling's log-probability is the sum along its path.
    """

    parents: tuple[int, ...]
    """Parent of each node; the root's is -1."""
    tokens: tuple[int, ...]
    """Token that leads to each node; the root's is -1."""
    edges: tuple[tuple[int, int], ...]
    """(node, token) pairs in first-seen order."""
    paths: tuple[tuple[int, ...], ...]
    """Per spelling the indices of its edges."""
    classes: tuple[int, ...]
    """Per spelling the label it means."""
    terminated: bool
    """True if every spelling carries its end, because one would otherwise be the beginning of
    another."""
    depths: tuple[int, ...] = field(default=())
    """Tokens from the root to each node."""

    @property
    def chains(self) -> list[list[int]]:
        """Node sequences from below the root to each node that has no child: what must be run to
        visit every node.
        """
        inner = set(self.parents)
        return [self.ancestors(node) for node in range(1, len(self.parents)) if node not in inner]

    def ancestors(self, node: int) -> list[int]:
        """The nodes from below the root to `node`, itself included."""
        path: list[int] = []
        while node > 0:
            path.append(node)
            node = self.parents[node]
        return path[::-1]


def begins_another(sequences: Sequence[Sequence[Sequence[int]]]) -> bool:
    """Whether the token ids of one spelling are the beginning of another's; see `build_trie`."""
    flat = {tuple(ids) for spellings in sequences for ids in spellings}
    return any(ids[:length] in flat for ids in flat for length in range(1, len(ids)))


def build_trie(
    sequences: Sequence[Sequence[Sequence[int]]], *, endings: Sequence[Sequence[int]] | None = None
) -> LabelTrie:
    """Arrange the token sequences of labels in a trie.

    Where one spelling's tokens begin another's ("pos" and "positive"), the events "starts with pos"
    and "starts with positive" overlap and their probabilities would not be comparable. Then *every*
    spelling gets the token that ends an answer, and its probability is that of exactly this answer.

    Args:
        sequences: Per label its spellings, each a non-empty sequence of token ids.
        endings: Per label, per spelling, the id of the token that ends the answer; needed only in
            that case.

    Returns:
        The trie.

    Raises:
        ModelError: Two spellings have the same tokens, or one begins another and no endings are
            given.
    """
    flat = [(index, tuple(ids)) for index, spellings in enumerate(sequences) for ids in spellings]
    if any(not ids for _, ids in flat):
        raise ModelError("a label is spelled by no token at all; give it a verbalizer")
    distinct = {ids for _, ids in flat}
    if len(distinct) < len(flat):
        twice = next(ids for _, ids in flat if sum(ids == other for _, other in flat) > 1)
        owners = [index for index, ids in flat if ids == twice]
        raise ModelError(
            f"labels {owners} are spelled by the same tokens {list(twice)}; give them verbalizers "
            "that differ"
        )
    terminated = begins_another(sequences)
    if terminated:
        if endings is None:
            raise ModelError(
                "one label's tokens begin another's, and no token ends an answer; give verbalizers "
                "that differ early"
            )
        ends = [end for spellings in endings for end in spellings]
        flat = [(index, (*ids, end)) for (index, ids), end in zip(flat, ends, strict=True)]
    nodes: dict[tuple[int, ...], int] = {(): 0}
    edges: dict[tuple[int, int], int] = {}
    paths = []
    for _, ids in flat:
        path = []
        for depth, token in enumerate(ids):
            node = nodes.setdefault(ids[:depth], len(nodes))
            path.append(edges.setdefault((node, token), len(edges)))
        paths.append(tuple(path))
    prefixes = list(nodes)
    return LabelTrie(
        parents=tuple(nodes[prefix[:-1]] if prefix else -1 for prefix in prefixes),
        tokens=tuple(prefix[-1] if prefix else -1 for prefix in prefixes),
        edges=tuple(edges),
        paths=tuple(paths),
        classes=tuple(index for index, _ in flat),
        terminated=terminated,
        depths=tuple(len(prefix) for prefix in prefixes),
    )
