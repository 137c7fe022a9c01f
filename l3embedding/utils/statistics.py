"""Statistics of a series of vectors, which summarise it in one vector."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

N_STATISTICS = 11


def summary_statistics(series: NDArray[np.floating]) -> NDArray[np.float32]:
    """Summarise a series of vectors `[n, d]`, in temporal order, in one vector.

    Returns
    -------
    float32 `[11 d]`: minimum, maximum, median, mean, variance, skewness and excess kurtosis, then mean and
    variance of the first and of the second differences. Undefined values, such as the skewness of a constant or
    the differences of a single vector, are 0.

    References
    ----------
    Salamon, Jacoby and Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014, section 5.
    """
    from scipy.stats import kurtosis, skew

    x = np.asarray(series, np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # constants have neither skewness nor kurtosis
        shape = [skew(x, axis=0), kurtosis(x, axis=0)]
    parts = [x.min(axis=0), x.max(axis=0), np.median(x, axis=0), x.mean(axis=0), x.var(axis=0), *shape]
    for order in (1, 2):
        change = np.diff(x, order, axis=0) if len(x) > order else np.zeros((1, x.shape[1]))
        parts += [change.mean(axis=0), change.var(axis=0)]
    return np.nan_to_num(np.concatenate(parts)).astype(np.float32)
