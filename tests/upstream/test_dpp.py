"""k-DPPs, against exhaustive enumeration."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from l3embedding.upstream.dpp import (
    LowRankKernel,
    greedy_map,
    log_elementary_symmetric,
    log_volume,
    sample_k_dpp,
    sample_k_dpp_mcmc,
)
from l3embedding.utils.errors import InputError

DRAWS = 4000


@pytest.mark.parametrize(("d", "k", "ridge"), [(3, 3, 0.0), (5, 2, 0.0), (3, 3, 0.3), (2, 4, 0.05), (9, 3, 0.0)])
def test_every_subset_is_drawn_in_proportion_to_its_determinant(rng, d, k, ridge):
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


def test_more_items_than_the_rank_are_refused_unless_there_is_a_ridge(rng):
    kernel = LowRankKernel.from_features(rng.normal(size=(20, 3)).astype(np.float32))
    assert kernel.rank == 3
    with pytest.raises(InputError, match="span 3 dimensions, so no 4 of them span a volume"):
        sample_k_dpp(kernel, 4, rng)
    assert len(sample_k_dpp(kernel, 4, rng, ridge=1e-3)) == 4
    assert sample_k_dpp(kernel, 20, rng, ridge=1e-3).tolist() == list(range(20))


def test_too_many_items_and_infinite_features_are_refused(rng):
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


def _frequencies(draw, n, draws):
    counts = np.zeros(n)
    for _ in range(draws):
        counts[draw()] += 1
    return counts / draws


@pytest.mark.parametrize("ridge", [0.0, 0.1])
def test_the_chain_reaches_the_exact_marginals_after_many_steps_but_not_after_three(rng, ridge):
    features = rng.normal(size=(8, 4)) * np.linspace(0.2, 3, 8)[:, np.newaxis]
    kernel = LowRankKernel.from_features(features)
    exact = _frequencies(lambda: sample_k_dpp(kernel, 3, rng, ridge=ridge), 8, 3000)
    long, short = (
        _frequencies(lambda steps=steps: sample_k_dpp_mcmc(features, 3, rng, ridge=ridge, steps=steps), 8, 1500)
        for steps in (60, 1)
    )
    assert np.abs(long - exact).max() < 0.06
    assert np.abs(short - exact).max() > 0.1


def test_each_item_is_drawn_as_often_as_by_dppy(rng):
    dpps = pytest.importorskip("dppy.finite_dpps", reason="dppy is in the extra `test`")
    features = rng.normal(size=(40, 6)) * rng.uniform(0.2, 2, (40, 1))
    peer = dpps.FiniteDPP("likelihood", L_gram_factor=features.T)
    state = np.random.RandomState(0)
    theirs = _frequencies(lambda: peer.sample_exact_k_dpp(4, random_state=state), 40, 1500)
    kernel = LowRankKernel.from_features(features)
    ours = _frequencies(lambda: sample_k_dpp(kernel, 4, rng), 40, 1500)
    assert np.abs(ours - theirs).max() < 5 * np.sqrt(0.25 * 2 / 1500)


@given(seed=st.integers(0, 10**6), n=st.integers(2, 12), d=st.integers(1, 6), ridge=st.sampled_from([0.0, 0.1]))
def test_the_greedy_set_grows_by_the_item_that_adds_most(seed, n, d, ridge):
    features = np.random.default_rng(seed).normal(size=(n, d))
    k = min(n, d)
    expected: list[int] = []
    for _ in range(k):
        rest = [item for item in range(n) if item not in expected]
        expected.append(max(rest, key=lambda item: log_volume(features[[*expected, item]], ridge)))
    assert greedy_map(features, k, ridge=ridge).tolist() == sorted(expected)


def test_a_greedy_set_beyond_the_rank_is_refused_unless_there_is_a_ridge(rng):
    features = rng.normal(size=(10, 2))
    with pytest.raises(InputError, match="No more than 2 of the 10 items"):
        greedy_map(features, 3)
    assert len(greedy_map(features, 10, ridge=0.1)) == 10


@given(seed=st.integers(0, 10**6), k=st.integers(1, 9), d=st.integers(1, 6))
def test_a_volume_is_the_determinant_whichever_side_it_is_computed_on(seed, k, d):
    features = np.random.default_rng(seed).normal(size=(k, d))
    expected = np.linalg.slogdet(features @ features.T + 0.1 * np.eye(k))[1]
    assert log_volume(features, 0.1) == pytest.approx(expected, abs=1e-8)


def test_items_without_a_volume_are_minus_infinity():
    assert log_volume(np.ones((2, 3)), 0.0) < -30
    assert log_volume(np.zeros((2, 3)), 0.0) == -np.inf
