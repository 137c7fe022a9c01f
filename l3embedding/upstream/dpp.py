"""k-DPPs with a low-rank kernel, without ever forming the N x N kernel.

A k-DPP draws a set S of k items with probability proportional to det(L_S). Here L = B B^T + r I with B
of shape `[N, d]`. Its eigenvalues are those of the d x d *dual* B^T B, plus r, and N - rank times r itself.

`sample_k_dpp`        draws exactly
`sample_k_dpp_mcmc`   draws by a few steps of a Markov chain from a random start, as the authors do
`greedy_map`          searches for the most probable set, without randomness

References
----------
Kulesza and Taskar, Determinantal Point Processes for Machine Learning, 2012: sampling in two phases
(2.4.4), the dual (3.3), k-DPPs by elementary symmetric polynomials (5.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from l3embedding.utils.errors import InputError

_CHUNK = 2048


@dataclass(frozen=True)
class LowRankKernel:
    """L = B B^T: the features B `[N, d]`, and the R nonzero eigenvalues and eigenvectors `[d, R]` of its dual B^T B."""

    features: NDArray[np.floating]
    eigenvalues: NDArray[np.float64]
    eigenvectors: NDArray[np.float64]

    @classmethod
    def from_features(cls, features: NDArray[np.floating]) -> LowRankKernel:
        """Decompose the dual of B `[N, d]`; the length of a row is the item's quality, its direction its kind.

        Raises
        ------
        InputError
            A feature is not finite.
        """
        if not np.isfinite(features).all():
            raise InputError("A k-DPP's features must be finite numbers.")
        dual = np.zeros((features.shape[1],) * 2)
        for start in range(0, len(features), _CHUNK):
            chunk = features[start : start + _CHUNK].astype(np.float64)
            dual += chunk.T @ chunk
        values, vectors = np.linalg.eigh(dual)
        # Rounding of float32 features leaves about this much in eigenvalues that should be zero.
        keep = values > values[-1] * max(dual.shape[0], 1) * np.finfo(np.float32).eps * 0.01
        keep &= values > 0
        return cls(features, values[keep], vectors[:, keep])

    @property
    def rank(self) -> int:
        """Rank of L; no more items than this span a volume."""
        return len(self.eigenvalues)

    def span(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """The chosen eigenvectors of L, orthonormal columns `[N, len(chosen)]`."""
        return _times(self.features, self.eigenvectors[:, chosen] / np.sqrt(self.eigenvalues[chosen]))

    def complement(self, columns: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Orthonormal columns `[N, columns]` of a uniformly random subspace of L's null space."""
        vectors = rng.standard_normal((len(self.features), columns))
        whitened = self.eigenvectors / self.eigenvalues
        for _ in range(2):  # twice, since a single projection leaves rounding errors
            vectors -= _times(self.features, whitened @ (self.eigenvectors.T @ _gather(self.features, vectors)))
        return np.linalg.qr(vectors)[0]


def sample_k_dpp(kernel: LowRankKernel, k: int, rng: np.random.Generator, *, ridge: float = 0.0) -> NDArray[np.int64]:
    """Draw k items from the k-DPP with kernel L = B B^T + ridge I, exactly.

    A ridge allows more items than B has rank. It takes O(N d^2 + N k^2) time, and N k float64 beside the features.

    Returns
    -------
    Sorted indices, int64 `[k]`.

    Raises
    ------
    InputError
        There are fewer than k items, or k exceeds the rank of a kernel without a ridge.
    """
    n, rank = len(kernel.features), kernel.rank
    _check_size(k, n)
    if k == 0:
        return np.empty(0, np.int64)
    if ridge <= 0 and k > rank:
        reason = f"The {n} items span {rank} dimensions, so no {k} of them span a volume"
        raise InputError(f"{reason}: draw at most {rank}, or set a ridge.")
    log_values = np.log(kernel.eigenvalues + ridge)
    table = log_elementary_symmetric(log_values, k)
    from_complement = _draw_complement_count(table[:, -1], n - rank, ridge, rng) if ridge > 0 else 0
    chosen = _draw_eigenvectors(log_values, table, k - from_complement, rng)
    basis = kernel.span(chosen)
    if from_complement:
        basis = np.hstack([basis, kernel.complement(from_complement, rng)])
    return np.sort(_sample_projection(basis, rng))


def sample_k_dpp_mcmc(
    features: NDArray[np.floating], k: int, rng: np.random.Generator, *, ridge: float = 0.0, steps: int = 3
) -> NDArray[np.int64]:
    """Draw k items by an exchange chain on L = B B^T + ridge I, which is exact only after many steps.

    From a uniform start, each step proposes to exchange an item for one outside, and accepts it with probability
    min(1, det L_new / det L_old). The features are B, `[N, d]`.

    Returns
    -------
    Sorted indices, int64 `[k]`.

    Raises
    ------
    InputError
        There are fewer than k items.

    References
    ----------
    Anari, Gharan and Rezaei, Monte Carlo Markov chain algorithms for sampling strongly Rayleigh
    distributions and determinantal point processes, 2016; DPPy's `sample_mcmc_k_dpp`.
    """
    n = len(features)
    _check_size(k, n)
    items = rng.choice(n, k, replace=False)
    if k in (0, n):
        return np.sort(items)
    volume = log_volume(features[items], ridge)
    for _ in range(steps):
        proposal = items.copy()
        outside = rng.integers(n)
        while outside in items:
            outside = rng.integers(n)
        proposal[rng.integers(k)] = outside
        proposed = log_volume(features[proposal], ridge)
        if proposed > -np.inf and (volume == -np.inf or np.log(rng.random()) < proposed - volume):
            items, volume = proposal, proposed
    return np.sort(items)


def log_volume(features: NDArray[np.floating], ridge: float) -> float:
    """Logarithm of det(B B^T + ridge I) for items B `[k, d]`; -inf if they span no volume."""
    rows = features.astype(np.float64)
    if len(rows) <= rows.shape[1] or ridge <= 0:
        sign, value = np.linalg.slogdet(rows @ rows.T + ridge * np.eye(len(rows)))
        return float(value) if sign > 0 else -np.inf
    # The determinant lemma: d x d instead of k x k.
    _, value = np.linalg.slogdet(np.eye(rows.shape[1]) + rows.T @ rows / ridge)
    return float(value + len(rows) * np.log(ridge))


def greedy_map(features: NDArray[np.floating], k: int, *, ridge: float = 0.0) -> NDArray[np.int64]:
    """Choose k items one by one, each the one that adds most to the volume under L = B B^T + ridge I, B `[N, d]`.

    Returns
    -------
    Sorted indices, int64 `[k]`.

    Raises
    ------
    InputError
        There are fewer than k items, or no further item adds to the volume.

    References
    ----------
    Chen, Zhang and Zhou, Fast greedy MAP inference for determinantal point process, NeurIPS 2018.
    """
    n = len(features)
    _check_size(k, n)
    gains = np.einsum("nd,nd->n", features, features, dtype=np.float64) + ridge
    smallest = gains.max(initial=0) * np.finfo(np.float32).eps
    factors = np.empty((n, k))
    items = np.empty(k, np.int64)
    for step in range(k):
        item = items[step] = int(np.argmax(gains))
        if gains[item] <= smallest:
            raise InputError(f"No more than {step} of the {n} items span a volume: draw fewer, or set a ridge.")
        product = _times(features, features[item].astype(np.float64))
        product[item] += ridge
        factors[:, step] = (product - factors[:, :step] @ factors[item, :step]) / np.sqrt(gains[item])
        gains -= np.square(factors[:, step])
        gains[items[: step + 1]] = -np.inf
    return np.sort(items)


def log_elementary_symmetric(log_values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Elementary symmetric polynomials of R values, from the logarithms of the values.

    Returns
    -------
    float64 `[k + 1, R + 1]`: entry (l, n) is log e_l of the first n values.
    """
    table = np.full((k + 1, len(log_values) + 1), -np.inf)
    table[0] = 0.0
    for n, log_value in enumerate(log_values, start=1):
        table[1:, n] = np.logaddexp(table[1:, n - 1], log_value + table[:-1, n - 1])
    return table


def _check_size(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise InputError(f"A k-DPP cannot draw {k} of {n} items.")


def _draw_complement_count(
    log_polynomials: NDArray[np.float64], multiplicity: int, ridge: float, rng: np.random.Generator
) -> int:
    """Draw how many of the k eigenvectors come from the eigenspace of the ridge alone."""
    k = len(log_polynomials) - 1
    m = np.arange(min(k, multiplicity) + 1)
    log_binomial = gammaln(multiplicity + 1) - gammaln(m + 1) - gammaln(multiplicity - m + 1)
    log_weight = log_polynomials[k - m] + log_binomial + m * np.log(ridge)
    weight = np.exp(log_weight - log_weight.max())
    return int(rng.choice(m, p=weight / weight.sum()))


def _draw_eigenvectors(
    log_values: NDArray[np.float64], table: NDArray[np.float64], k: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw k eigenvectors with probability proportional to the product of their eigenvalues."""
    chosen = []
    coins = np.log(rng.random(len(log_values)))
    for n in range(len(log_values), 0, -1):
        if k and coins[n - 1] < log_values[n - 1] + table[k - 1, n - 1] - table[k, n]:
            chosen.append(n - 1)
            k -= 1
    return np.array(chosen[::-1], np.int64)


def _sample_projection(basis: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw from the DPP whose kernel projects onto the orthonormal columns of `basis` `[N, k]`."""
    # Item by item, with probability proportional to the squared length of the part of its row that is outside the span
    # of the rows drawn before.
    k = basis.shape[1]
    remaining = np.einsum("nk,nk->n", basis, basis)
    directions = np.empty((k, k))
    items = np.empty(k, np.int64)
    for step in range(k):
        weight = np.maximum(remaining, 0)
        items[step] = rng.choice(len(weight), p=weight / weight.sum())
        row = basis[items[step]].copy()
        for _ in range(2):  # Gram-Schmidt, twice for orthogonality to rounding
            row -= directions[:step].T @ (directions[:step] @ row)
        directions[step] = row / np.linalg.norm(row)
        remaining -= np.square(basis @ directions[step])
        remaining[items[: step + 1]] = 0
    return items


def _times(features: NDArray[np.floating], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """B M in float64, without a copy of B in float64."""
    chunks = range(0, len(features), _CHUNK)
    return np.concatenate([features[start : start + _CHUNK] @ matrix for start in chunks])


def _gather(features: NDArray[np.floating], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """B^T V in float64, without a copy of B in float64."""
    product = np.zeros((features.shape[1], vectors.shape[1]))
    for start in range(0, len(features), _CHUNK):
        product += features[start : start + _CHUNK].T @ vectors[start : start + _CHUNK]
    return product
