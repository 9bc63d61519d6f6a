"""Which layers and how many groups of heads a pruned model keeps, told before anything is cut."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen3Config

from tutelage.students.pruning.plan import plan_pruning
from tutelage.students.pruning.pruning import keep_layers


@pytest.mark.parametrize(
    ("heads", "kv_heads", "kept", "groups"),
    [
        (9, 3, 6, 3),
        (9, 3, 3, 3),
        (9, 3, 4, 2),
        (9, 3, 1, 1),
        (32, 8, 12, 6),
        (8, 8, 5, 5),
        (8, 1, 5, 1),
    ],
)
def test_as_many_groups_stay_as_the_heads_divide_into(heads, kv_heads, kept, groups):
    config = Qwen3Config(num_attention_heads=heads, num_key_value_heads=kv_heads)
    assert plan_pruning(config, heads=kept).kv_heads == groups


@given(total=st.integers(1, 40), data=st.data())
@settings(max_examples=60, deadline=None)
def test_kept_layers(total, data):
    wanted = data.draw(st.integers(1, total))
    even = keep_layers(total, wanted)
    influence = torch.tensor(data.draw(st.lists(st.floats(0, 2), min_size=total, max_size=total)))
    ranked = keep_layers(total, wanted, influence=influence)
    for kept in (even, ranked):
        assert len(kept) == wanted == len(set(kept))
        assert kept == sorted(kept)
        assert kept[0] >= 0
        assert kept[-1] < total
    gaps = [right - left for left, right in pairwise(even)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
    if wanted >= 3:
        assert (even[0], even[-1]) == (0, total - 1)
        assert {0, 1, total - 1} <= set(ranked)
