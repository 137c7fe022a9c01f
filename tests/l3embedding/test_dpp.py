"""k-DPPs, against exhaustive enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from data.errors import InputError
from l3embedding.dpp import LowRankKernel, log_elementary_symmetric, sample_k_dpp

DRAWS = 4000


@pytest.mark.parametrize(("d", "k", "ridge"), [(3, 3, 0.0), (5, 2, 0.0), (3, 3, 0.3), (2, 4, 0.05), (9, 3, 0.0)])
def test_every_subset_is_drawn_as_often_as_its_determinant_says(rng, d, k, ridge):
    features = rng.normal(size=(7, d)) * rng.uniform(0.3, 2, (7, 1))
    matrix = features @ features.T + ridge * np.eye(7)
    subsets = list(combinations(range(7), k))
    expected = np.array([np.linalg.det(matrix[np.ix_(each, each)]) for each in subsets])
    expected *= DRAWS / expected.sum()
    kernel = LowRankKernel.from_features(features)
    counts = dict.fromkeys(subsets, 0)
    for _ in range(DRAWS):
        counts[tuple(sample_k_dpp(kernel, k, rng, ridge=ridge).tolist())] += 1
    often = expected > 5
    observed = np.array(list(counts.values()))
    statistic = np.sum((observed[often] - expected[often]) ** 2 / expected[often])
    assert statistic < chi2.ppf(0.999, often.sum())


@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), d=st.integers(1, 8), data=st.data())
def test_a_sample_has_k_different_items_and_a_volume(seed, n, d, data):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    k = data.draw(st.integers(0, min(n, d)))
    items = sample_k_dpp(LowRankKernel.from_features(features), k, rng)
    assert len(set(items.tolist())) == k
    assert (np.diff(items) > 0).all()
    assert np.linalg.matrix_rank(features[items]) == k


def test_duplicates_are_never_drawn_together(rng):
    features = np.repeat(rng.normal(size=(5, 4)), 3, axis=0)
    kernel = LowRankKernel.from_features(features)
    for _ in range(100):
        assert len(set((sample_k_dpp(kernel, 4, rng) // 3).tolist())) == 4


def test_more_items_than_the_rank_are_refused_with_the_reason_or_served_by_the_ridge(rng):
    kernel = LowRankKernel.from_features(rng.normal(size=(20, 3)).astype(np.float32))
    assert kernel.rank == 3
    with pytest.raises(InputError, match="span 3 dimensions, so no 4 of them have a volume"):
        sample_k_dpp(kernel, 4, rng)
    assert len(sample_k_dpp(kernel, 4, rng, ridge=1e-3)) == 4
    assert sample_k_dpp(kernel, 20, rng, ridge=1e-3).tolist() == list(range(20))


def test_more_items_than_there_are_and_infinite_features_are_refused(rng):
    with pytest.raises(InputError, match="cannot draw 6 of 5"):
        sample_k_dpp(LowRankKernel.from_features(np.eye(5)), 6, rng)
    with pytest.raises(InputError, match="finite"):
        LowRankKernel.from_features(np.array([[1.0, np.nan]]))


def test_the_same_seed_draws_the_same_sample(rng):
    kernel = LowRankKernel.from_features(rng.normal(size=(200, 16)))
    one, other = (sample_k_dpp(kernel, 10, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_elementary_symmetric_polynomials_are_the_coefficients_of_the_product(rng):
    values = rng.uniform(0.1, 3, 6)
    table = log_elementary_symmetric(np.log(values), 4)
    np.testing.assert_allclose(np.exp(table[:, -1]), np.abs(np.poly(values))[:5], rtol=1e-12)
