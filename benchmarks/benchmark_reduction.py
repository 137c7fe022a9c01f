"""Fitting and applying phi, beside scikit-learn; relevance of a year of one sensor.

The limit of the fit is the covariance, 2 N D^2 floating point operations; that of applying is reading
N D and writing N d float32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.timing import seconds
from l3embedding.data.loudness import relevance
from l3embedding.data.shards import iterate_dataset, read_dataset, write_reduced_shard
from l3embedding.upstream.reductions.pca import fit_pca
from l3embedding.utils.parallel import map_ahead

N, D, SIZE = 60_000, 512, 128
SHARDS = 12
CLIPS, FRAMES = 365 * 1440, 19


def main() -> None:
    """Print each time beside its peer's."""
    rng = np.random.default_rng(0)
    embeddings = (rng.standard_normal((N, D)) @ rng.standard_normal((D, D))).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        _fit(embeddings, Path(folder))
        _apply(embeddings, Path(folder))
    _relevance(rng)


def _fit(embeddings: np.ndarray, folder: Path) -> None:
    ours = seconds(lambda: fit_pca(np.array_split(embeddings, 8), SIZE))
    in_memory = make_pipeline(StandardScaler(), PCA(SIZE, svd_solver="covariance_eigh"))
    peer = seconds(lambda: in_memory.fit(embeddings))
    print(f"PCA {N} x {D} to {SIZE}, in memory: {ours:.2f} s; scikit-learn's covariance_eigh {peer:.2f} s")
    print(f"{peer / ours:.2f} times as fast; {2 * N * D**2 / ours / 1e9:.0f} GFLOP/s of what the method needs")
    path = folder / "all.h5"
    with h5py.File(path, "w") as file:
        file["l3_embedding"] = embeddings
    streamed = seconds(lambda: fit_pca(iterate_dataset(path, "l3_embedding"), SIZE))

    def incremental() -> None:
        pca, scaler = IncrementalPCA(SIZE), StandardScaler()
        for chunk in iterate_dataset(path, "l3_embedding"):
            scaler.partial_fit(chunk)
        for chunk in iterate_dataset(path, "l3_embedding"):
            pca.partial_fit(scaler.transform(chunk))

    peer = seconds(incremental, repetitions=1)
    print(f"streamed from HDF5: {streamed:.2f} s; IncrementalPCA {peer:.2f} s: {peer / streamed:.1f} times as fast")


def _apply(embeddings: np.ndarray, folder: Path) -> None:
    reduction = fit_pca([embeddings], SIZE)
    paths = []
    for index, part in enumerate(np.array_split(embeddings, SHARDS)):
        paths.append(folder / f"shard-{index}.h5")
        with h5py.File(paths[-1], "w") as file:
            file["l3_embedding"] = part

    def apply(path: Path) -> None:
        reduced = reduction.transform(read_dataset(path, "l3_embedding"))
        write_reduced_shard(folder / "reduced" / path.name, reduction.key, reduced, {})

    def copy(path: Path) -> None:
        write_reduced_shard(folder / "copied" / path.name, "x", read_dataset(path, "l3_embedding")[:, :SIZE], {})

    ours = seconds(lambda: list(map_ahead(apply, paths, 4)))
    limit = seconds(lambda: list(map_ahead(copy, paths, 4)))
    print(f"applying phi to {N} rows: {ours:.2f} s; reading and writing alone {limit:.2f} s: {limit / ours:.2f} of it")


def _relevance(rng: np.random.Generator) -> None:
    begin = 1_500_000_000 + 60.0 * np.arange(CLIPS)
    times = (begin[:, np.newaxis] + 0.5 * np.arange(FRAMES)).ravel()
    levels = np.round(rng.normal(60, 8, len(times)), 2).astype(np.float32)
    took = seconds(lambda: relevance(levels, times, "America/New_York"), repetitions=1)
    print(f"relevance of a year of one sensor, {len(times)} frames: {took:.1f} s")


if __name__ == "__main__":
    main()
