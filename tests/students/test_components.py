import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.students.vocabulary.embeddings import principal_components


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_components_are_ordered_uncorrelated_and_signed(seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(40, 6, generator=generator) * torch.arange(1, 7) + 5
    got = principal_components(vectors, 4, standard_deviation=0.5).double()
    torch.testing.assert_close(got.mean(0), torch.zeros(4).double(), atol=1e-5, rtol=0)
    covariance = got.T @ got / 40
    variances = covariance.diagonal()
    assert (variances[:-1] >= variances[1:]).all()
    torch.testing.assert_close(covariance, variances.diag(), atol=1e-5, rtol=0)
    assert variances.mean().sqrt() == pytest.approx(0.5, rel=1e-5)
    torch.testing.assert_close(got.amax(0), got.abs().amax(0))


def test_the_components_kept_are_the_largest():
    vectors = torch.randn(200, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(
        1.0, 7.0
    )
    found = principal_components(vectors, 4, standard_deviation=1.0).double().var(0, correction=0)
    largest = torch.linalg.eigvalsh(torch.cov(vectors.T.double(), correction=0)).flip(0)[:4]
    torch.testing.assert_close(found / found.sum(), largest / largest.sum(), rtol=1e-4, atol=0)


def test_components_can_be_evened_out():
    vectors = torch.randn(60, 5, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6)
    spread = {
        p: principal_components(vectors, 5, standard_deviation=1.0, power=p).std(0)
        for p in (0, 0.5, 1)
    }
    torch.testing.assert_close(spread[1], spread[1][:1].expand(5))
    torch.testing.assert_close(
        (spread[0][0] / spread[0][4]).sqrt(), spread[0.5][0] / spread[0.5][4]
    )
    with pytest.raises(ValueError, match="power is 2"):
        principal_components(vectors, 5, standard_deviation=1.0, power=2)


def test_weights_count_like_copies():
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([1.0, 3, 1, 1, 2, 1, 1, 1, 1])
    copies = vectors.repeat_interleave(weights.long(), 0)
    first = torch.cat([torch.zeros(1), weights[:-1]]).cumsum(0).long()
    expected = principal_components(copies, 2, standard_deviation=1.0)[first]
    torch.testing.assert_close(
        principal_components(vectors, 2, standard_deviation=1.0, weights=weights), expected
    )


def test_the_number_of_threads_changes_no_bit():
    vectors = torch.randn(4000, 96, generator=torch.Generator().manual_seed(0))
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(principal_components(vectors, 24, standard_deviation=0.02, power=0.5))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert torch.equal(*found)


def test_equal_vectors_give_zero():
    assert not principal_components(torch.ones(5, 3), 2, standard_deviation=1.0).any()
