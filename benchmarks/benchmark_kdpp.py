"""Exact k-DPP sampling at the authors' scale, beside DPPy's dual sampler in one run; and its memory.

The limit: the dual takes 2 N d^2 floating point operations, the projection 2 N k^2.
"""

from __future__ import annotations

import numpy as np
from dppy.finite_dpps import FiniteDPP

from benchmarks.timing import peak_mb, seconds
from l3embedding.upstream.dpp import LowRankKernel, sample_k_dpp

N, D, K = 28_800, 512, 100


def unit_rows(n: int, rng: np.random.Generator) -> np.ndarray:
    """Embeddings of unit length, float32 `[n, D]`."""
    features = rng.standard_normal((n, D), np.float32) * np.linspace(1, 0.01, D, dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features


def main() -> None:
    """Print times, their ratio, and the memory of a set twenty times as large."""
    rng = np.random.default_rng(0)
    _beside_dppy(unit_rows(N, rng), rng)
    large = unit_rows(20 * N, rng)
    took = seconds(lambda: sample_k_dpp(LowRankKernel.from_features(large), K, rng), repetitions=1)
    peak = peak_mb() * 2**20 / large.nbytes
    print(f"N {20 * N}: {took:.1f} s, peak memory of the process {peak:.2f} times the embeddings")


def _beside_dppy(features: np.ndarray, rng: np.random.Generator) -> None:
    ours = seconds(lambda: sample_k_dpp(LowRankKernel.from_features(features), K, rng))
    ridge = seconds(lambda: sample_k_dpp(LowRankKernel.from_features(features), K, rng, ridge=1e-3))
    dual = features.astype(np.float64).T
    peer = seconds(lambda: FiniteDPP("likelihood", L_gram_factor=dual).sample_exact_k_dpp(K), repetitions=1)
    operations = 2 * N * D**2 + 2 * N * K**2
    print(f"k-DPP, N {N}, d {D}, k {K}: {ours:.2f} s; with a ridge {ridge:.2f} s; DPPy's dual {peer:.2f} s")
    print(f"{peer / ours:.1f} times DPPy; {operations / ours / 1e9:.0f} GFLOP/s of what the method needs")


if __name__ == "__main__":
    main()
