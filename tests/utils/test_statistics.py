"""Statistics of a series."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from l3embedding.utils.statistics import N_STATISTICS, summary_statistics


def test_each_statistic_equals_scipys_and_numpys(rng):
    x = rng.gamma(2, size=(50, 3))
    found = summary_statistics(x).reshape(N_STATISTICS, 3)
    first, second = x[1:] - x[:-1], x[2:] - 2 * x[1:-1] + x[:-2]
    expected = [x.min(0), x.max(0), np.median(x, 0), x.mean(0), x.var(0), stats.skew(x), stats.kurtosis(x)]
    expected += [first.mean(0), first.var(0), second.mean(0), second.var(0)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_undefined_statistics_are_zero(n):
    found = summary_statistics(np.full((n, 2), 7.0)).reshape(N_STATISTICS, 2)
    np.testing.assert_array_equal(found[:4], 7)
    np.testing.assert_array_equal(found[4:], 0)
