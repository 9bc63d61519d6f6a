"""Random-sampling KD as a store would hold it: the other side of `target_store.py`, with the best
coding of ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.targets import SparseTargets
from tutelage.targets.ranks import RankTable, pack_bits, split_ranks
from tutelage.targets.sparse import ZSTD_LEVEL
from tutelage.teachers.causal.drawing import join


def draw_iid(walk: Tensor, number: int, nats: Tensor, chance: torch.Generator) -> SparseTargets:
    """Random-sampling KD: ids drawn one by one from the whole distribution, each with its share of
    the draws.

    "Heads" are the ids drawn twice or more, by falling count; the others were drawn once.
    """
    points = torch.rand(len(walk), number, generator=chance, dtype=torch.float64) * walk[:, -1:]
    drawn = torch.searchsorted(walk, points, right=True).clamp_max_(walk.shape[1] - 1).numpy()
    ids, shares, counts, heads = [], [], [], []
    for row in drawn:
        names, times = np.unique(row, return_counts=True)
        order = np.argsort(-times, kind="stable")
        ids.append(names[order])
        shares.append(times[order] / number)
        counts.append(len(names))
        heads.append((times > 1).sum())
    return SparseTargets(
        np.array(counts, np.uint16),
        np.array(heads, np.uint16),
        np.concatenate(ids).astype(np.int32),
        np.log(np.concatenate(shares)).astype(np.float32),
        nats.numpy(),
    )


def iid_bytes(
    targets: Sequence[SparseTargets], number: int, coded_entropies: NDArray[np.uint8]
) -> int:
    """Size of a Parquet part of i.i.d. counts in the coding of `sampled`, so that only what is
    drawn differs.

    Ids drawn once lie as our tails do: ranks in order, buckets as steps, bits packed; their number
    need not be stored. Ids drawn more often lie as our heads do, with counts in place of
    probabilities. All lies in one row, which costs a little less than a row for each document does.
    """
    whole = join(list(targets))
    counts, heads = whole.counts.astype(np.int64), whole.heads.astype(np.int64)
    owners = np.repeat(np.arange(len(counts)), counts)
    is_head = np.arange(len(owners)) - (np.cumsum(counts) - counts)[owners] < heads[owners]
    table = RankTable.counting(whole.ids)
    times = np.round(np.exp(whole.logprobs.astype(np.float64)) * number).astype(np.int64)
    head_buckets, head_rests = split_ranks(table.ranks(whole.ids[is_head]))
    firsts = (np.cumsum(heads) - heads)[heads > 0]
    falls = -np.diff(times[is_head], prepend=0)
    later = np.delete(falls, firsts)
    ranks = np.sort((owners[~is_head] << 21) | table.ranks(whole.ids[~is_head])) & (2**21 - 1)
    buckets, rests = split_ranks(ranks)
    tails = counts - heads
    starts = (np.cumsum(tails) - tails)[tails > 0]
    steps = np.diff(buckets, prepend=np.uint8(0))
    steps[starts] = buckets[starts]
    columns = {
        "heads": heads.astype(np.uint8),
        "entropies": coded_entropies,
        "first_counts": times[is_head][firsts].astype(np.uint16),
        "next_counts": later.astype(np.uint16),
        "head_buckets": head_buckets,
        "head_bits": pack_bits(head_rests, head_buckets, entries=np.array([len(head_rests)]))[0],
        "tail_steps": steps,
        "tail_bits": pack_bits(rests, buckets, entries=np.array([len(rests)]))[0],
        "rank_steps": table.steps(),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table({name: [values] for name, values in columns.items()}),
        sink,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=False,
        column_encoding={f"{name}.list.element": "BYTE_STREAM_SPLIT" for name in columns},
        write_statistics=False,
        store_schema=False,
    )
    return sink.getvalue().size
