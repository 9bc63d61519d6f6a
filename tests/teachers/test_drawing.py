"""What is written down of a distribution: exact heads, a fair draw of the tail, the k best and the
mass of the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.targets import SparseTargets, TargetStore, TargetWriter
from tutelage.teachers.causal import distributions
from tutelage.teachers.causal.distributions import entropies
from tutelage.teachers.causal.drawing import (
    draw_sampled,
    join,
    keep_top_k,
    split_by_document,
    uniforms,
)

ID = bytes(16)


def random_logits(
    positions: int, vocabulary: int, *, seed: int = 0, spread: float = 3.0
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Flat and peaked positions, and a shift that must not matter.
    sharpness = torch.rand(positions, 1, generator=generator) * spread
    return torch.randn(positions, vocabulary, generator=generator) * sharpness + 7


def positions_of(
    found: SparseTargets,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Head ids, their probabilities, tail ids, theirs."""
    ends = np.cumsum(found.counts, dtype=np.int64)
    shown = []
    for end, count, heads in zip(ends, found.counts, found.heads, strict=True):
        ids, probs = (
            found.ids[end - count : end],
            np.exp(found.logprobs[end - count : end].astype(np.float64)),
        )
        shown.append((ids[:heads], probs[:heads], ids[heads:], probs[heads:]))
    return shown


def dense(found: SparseTargets, vocabulary: int) -> np.ndarray:
    """[P, V]."""
    rows = np.repeat(np.arange(len(found)), found.counts)
    table = np.zeros((len(found), vocabulary))
    np.add.at(table, (rows, found.ids), np.exp(found.logprobs.astype(np.float64)))
    return table


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    vocabulary=st.sampled_from([2, 5, 127, 128, 129, 300, 1024, 3000]),
    threshold=st.sampled_from([0.005, 0.02, 0.05, 0.3]),
)
def test_a_draw_is_the_walk_along_the_tail(seed, vocabulary, threshold):
    """Against the definition, position by position in float64."""
    logits = random_logits(6, vocabulary, seed=seed)
    offsets = uniforms(seed, ID, 6)
    probs = torch.softmax(logits, dim=-1).double().numpy()
    single = torch.softmax(logits, dim=-1).numpy()
    for row, (head, masses, tail, steps) in enumerate(
        positions_of(draw_sampled(logits, offsets, threshold=threshold))
    ):
        is_head = single[row] >= np.float32(threshold)
        assert head.tolist() == np.flatnonzero(is_head).tolist()
        left = np.where(is_head, 0, probs[row])
        if left.sum() <= 1e-6:
            continue  # about as little as rounding: there may be no tail
        assert masses == pytest.approx(probs[row][is_head], rel=1e-5)
        count = int(np.clip(left.sum() / threshold, 1, 256 - is_head.sum()))
        if abs(left.sum() / threshold - round(left.sum() / threshold)) > 1e-4:
            assert len(tail) == count
        assert steps == pytest.approx(left.sum() / len(tail), rel=1e-5)
        ends = np.cumsum(left)
        points = (offsets[row] + np.arange(len(tail))) * ends[-1] / len(tail)
        # A point that rounding could carry over a border may fall on either side of it.
        for point, token in zip(points, tail, strict=True):
            assert left[token] > 0
            assert ends[token] - left[token] - 1e-6 <= point <= ends[token] + 1e-6


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    vocabulary=st.sampled_from([40, 128, 700]),
    rule=st.sampled_from(
        [{"threshold": 0.03}, {"threshold": 0.0005}, {"budget": 1}, {"budget": 7}, {"budget": 40}]
    ),
)
def test_every_draw_sums_to_one_and_names_no_token_twice(seed, vocabulary, rule):
    found = draw_sampled(
        random_logits(20, vocabulary, seed=seed, spread=8), uniforms(seed, ID, 20), **rule
    )
    for head, masses, tail, steps in positions_of(found):
        assert masses.sum() + steps.sum() == pytest.approx(1, abs=2e-6)
        assert len(set(head) | set(tail)) == len(head) + len(tail) <= max(256, len(head) + 1)
        assert np.ptp(steps) == 0 if len(steps) else True


@pytest.mark.parametrize("rule", [{"threshold": 0.08}, {"budget": 5}])
def test_the_mean_of_many_stored_draws_is_the_distribution(tmp_path, rule):
    """Through the store as it lies on disk: 30,000 equal positions, each drawn and rounded by
    itself."""
    count, vocabulary = 30_000, 300
    logits = random_logits(1, vocabulary, seed=5, spread=4.0)
    drawn = draw_sampled(logits.expand(count, -1), uniforms(3, ID, count), **rule)
    with TargetWriter.open(
        tmp_path / "targets",
        kind="sampled",
        teacher="t",
        tokenizer="k",
        vocabulary_size=vocabulary,
        encoding=rule,
    ) as writer:
        writer.add([ID], [drawn])
        writer.finish()
    (found,) = TargetStore.open(tmp_path / "targets").lookup([ID])
    expected = torch.softmax(logits[0].double(), dim=-1).numpy()
    for targets in (drawn, found):
        table = dense(targets, vocabulary)
        assert table.sum(axis=1) == pytest.approx(1, abs=1e-5)
        means, draws = table.mean(axis=0), (table > 0).sum(axis=0)
        often = (
            draws >= 30
        )  # of tokens that are drawn less often a standard error says little: all of them as one
        errors = table.std(axis=0) / np.sqrt(count)
        deviations = np.abs(means - expected)[often] / np.maximum(errors[often], 1e-8)
        assert deviations.max() < 4.5
        assert often.sum() > 30
        rest = table[:, ~often].sum(axis=1)
        assert abs(rest.mean() - expected[~often].sum()) < 4.5 * rest.std() / np.sqrt(count) + 1e-8
        assert expected[~often].sum() < 0.01


def test_the_variance_is_that_of_systematic_sampling():
    """p (step - p) for each token of the tail, and nothing in the head: a fraction of what i.i.d.
    sampling has."""
    count = 20_000
    logits = random_logits(1, 200, seed=5, spread=4.0)
    probs = torch.softmax(logits[0].double(), dim=-1).numpy()
    found = draw_sampled(logits.expand(count, -1), uniforms(0, ID, count), threshold=0.08)
    (_, _, tail, steps), table = positions_of(found)[0], dense(found, 200)
    expected = np.where(probs >= 0.08, 0, probs * (steps[0] - probs))
    assert table.var(axis=0).sum() == pytest.approx(expected.sum(), rel=0.05)
    assert len(tail) > 3


def test_offsets_depend_on_seed_document_and_position_alone():
    first = uniforms(0, ID, 50)
    assert np.array_equal(
        uniforms(0, ID, 80)[:50], first
    )  # a position's number does not depend on how many follow
    for other in (uniforms(1, ID, 50), uniforms(-1, ID, 50), uniforms(0, bytes(15) + b"\1", 50)):
        assert not np.isin(other, first).any()
    assert 0 <= first.min() < first.max() < 1
    # Pinned: another generator would change every store that is gone on with.
    assert uniforms(7, bytes(range(16)), 2).tolist() == [0.7441981083915866, 0.8027575899964116]


def test_every_seed_of_64_bits_draws() -> None:
    drawn = [uniforms(seed, b"x" * 16, 1)[0] for seed in (0, 2**63 - 1, 2**63, 2**64 - 1)]
    assert len(set(drawn)) == 4


@pytest.mark.parametrize("rule", [{"threshold": 0.02}, {"budget": 9}])
def test_positions_do_not_depend_on_their_neighbours(monkeypatch, rule):
    logits, offsets = random_logits(12, 500), uniforms(0, ID, 12)
    together = draw_sampled(logits, offsets, **rule)
    alone = join(
        [draw_sampled(logits[row : row + 1], offsets[row : row + 1], **rule) for row in range(12)]
    )
    monkeypatch.setattr(distributions, "ELEMENTS_AT_ONCE", 1500)
    in_threes = draw_sampled(logits, offsets, **rule)
    for other in (alone, in_threes):
        for name in SparseTargets.__slots__:
            assert np.array_equal(getattr(together, name), getattr(other, name)), name


def test_a_budget_is_kept_and_splits_where_the_step_does():
    logits = random_logits(40, 900, spread=6)
    probs = torch.softmax(logits, dim=-1).numpy()
    found = draw_sampled(logits, uniforms(0, ID, 40), budget=10)
    for row, (head, masses, tail, steps) in enumerate(positions_of(found)):
        if not len(tail):
            assert masses.sum() == pytest.approx(1)
            continue
        assert len(head) + len(tail) == 10
        ordered = np.sort(probs[row])[::-1]
        assert ordered[len(head)] <= steps[0] * (
            1 + 1e-5
        )  # the largest of the tail is no larger than the step
        if len(head):
            assert ordered[len(head) - 1] >= steps[0] * (1 - 1e-5)


@pytest.mark.parametrize("finer", [1, 4])
def test_a_budget_beyond_the_vocabulary_keeps_every_token(finer):
    logits = random_logits(20, 6, spread=6)
    found = draw_sampled(logits, uniforms(0, ID, 20), budget=200, finer=finer)
    assert dense(found, 6) == pytest.approx(torch.softmax(logits, dim=-1).numpy(), abs=1e-6)


@pytest.mark.parametrize("size", [1300, 1408])
def test_a_budget_at_a_position_where_fewer_tokens_have_any_probability(size):
    logits = torch.full((3, size), -200.0)
    logits[:, 5] = 0.0
    logits[1:, 7] = -1.0
    logits[2, 9:30] = -3.0
    found = draw_sampled(logits, uniforms(0, ID, 3), budget=12)
    assert found.counts.tolist()[:2] == [1, 2]
    assert dense(found, size)[:2] == pytest.approx(
        torch.softmax(logits[:2], dim=-1).numpy(), abs=1e-6
    )
    assert found.counts[2] == 12


def test_a_certain_position_is_one_token():
    logits = torch.full((2, 400), -200.0)
    logits[0, 399] = logits[1, 3] = 0.0
    found = draw_sampled(logits, np.array([0.0, 0.999999]), threshold=0.05)
    assert (found.counts.tolist(), found.ids.tolist(), found.logprobs.tolist()) == (
        [1, 1],
        [399, 3],
        [0.0, 0.0],
    )
    assert found.entropies.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("offset", [0.0, 0.5, 1 - 2**-53])
def test_equal_tokens_as_large_as_the_step(offset):
    """All 16 have exactly a step's mass: each is met once, whatever the offset."""
    found = draw_sampled(torch.zeros(1, 16), np.array([offset]), threshold=0.0626)
    assert found.heads.tolist() == [0]
    assert len(set(found.ids.tolist())) == found.counts[0] == 15


def test_a_mass_that_is_a_whole_number_of_steps_is_one_whatever_its_last_bits():
    """Without a head the tail weighs 1: rounding must not make 19 entries of 20."""
    found = draw_sampled(random_logits(400, 3000, spread=0.1), uniforms(0, ID, 400), threshold=0.05)
    assert set(found.counts.tolist()) == {20}


def test_ruled_out_tokens_are_never_drawn():
    logits = random_logits(30, 300, spread=1.0)
    logits[:, ::2] = -torch.inf
    found = draw_sampled(logits, uniforms(0, ID, 30), threshold=0.01)
    assert (found.ids % 2 == 1).all()
    assert np.isfinite(found.entropies).all()


def test_both_or_no_rule_is_refused():
    for rule in ({}, {"threshold": 0.1, "budget": 3}):
        with pytest.raises(ValueError, match="expected one of them"):
            draw_sampled(torch.zeros(1, 4), np.zeros(1), **rule)


@pytest.mark.parametrize("vocabulary", [3, 300, 1280, 12_800])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_top_k_keeps_the_best_and_lacks_the_mass_of_the_rest(vocabulary, k):
    logits = random_logits(9, vocabulary)
    logprobs = torch.log_softmax(logits.double(), dim=-1)
    found = keep_top_k(logits, k)
    kept = min(k, vocabulary)
    assert found.counts.tolist() == found.heads.tolist() == [kept] * 9
    expected = logprobs.topk(kept, dim=-1)
    assert found.logprobs == pytest.approx(expected.values.flatten().numpy(), abs=2e-6)
    assert found.ids.tolist() == expected.indices.flatten().tolist()
    tails = 1 - np.exp(found.logprobs.astype(np.float64)).reshape(9, kept).sum(axis=1)
    assert tails == pytest.approx(1 - expected.values.exp().sum(dim=-1).numpy(), abs=1e-6)
    assert (tails > -1e-6).all()


def test_entropies_are_those_of_the_definition():
    logits = random_logits(50, 2000, spread=10)
    logits[3, 1:] = -torch.inf
    logprobs = torch.log_softmax(logits.double(), dim=-1)
    expected = -(logprobs.exp() * logprobs.clamp_min(-1e30)).sum(dim=-1)
    for found in (
        entropies(logits),
        entropies(torch.log_softmax(logits, dim=-1)),
        torch.from_numpy(keep_top_k(logits, 3).entropies),
        torch.from_numpy(draw_sampled(logits, uniforms(0, ID, 50), threshold=0.1).entropies),
    ):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=1e-5)
    assert entropies(logits[:0]).shape == (0,)


def test_documents_are_cut_apart_again():
    logits, offsets = random_logits(7, 200), uniforms(0, ID, 7)
    whole = draw_sampled(logits, offsets, threshold=0.05)
    pieces = split_by_document(whole, [0, 3, 0, 4])
    assert [len(piece) for piece in pieces] == [0, 3, 0, 4]
    for name in SparseTargets.__slots__:
        assert np.array_equal(getattr(join(pieces), name), getattr(whole, name))
