"""Stage 02: fit phi on the sample, and apply it to every upstream shard."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from l3embedding.cli.program import run_stage
from l3embedding.data.shards import (
    SPLITS,
    TEACHER_KEY,
    read_attributes,
    read_dataset,
    require_shards,
    write_reduced_shard,
)
from l3embedding.upstream.kernel_reduction import fit_kernel_pca
from l3embedding.upstream.reduction import PcaReduction, Reduction, fit_pca
from l3embedding.upstream.umap_reduction import UmapSettings, fit_umap
from l3embedding.utils.parallel import map_ahead
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)


def reduce(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Fit and apply; see `l3embedding.upstream.reduction`. Shards that are there already are left alone."""
    samples = require_shards(inputs["sample_dir"])
    reduction = _fit(parameters, (read_dataset(path, TEACHER_KEY) for path in samples))
    reduction.save(output_dir / "phi.h5")
    results = {"embedding_key": reduction.key, "n_sampled": reduction.n_samples}
    if isinstance(reduction, PcaReduction):
        explained = reduction.explained_variance_ratio
        logger.info("%s explains %.1f %% of the sample's variance", reduction.key, 100 * explained.sum())
        results |= {"explained_variance_ratio": float(explained.sum()), "explained_variance_ratios": explained.tolist()}
    shards = [path for split in SPLITS for path in require_shards(inputs["audio_dir"] / split)]
    if parameters.tsne_points:
        results["tsne"] = _picture(samples, parameters)
    # Reading and writing wait for the disk; umap-learn is not made for several threads.
    threads = 1 if parameters.approx_mode == "umap" else 4
    with progress("reducing", len(shards), "shards", logger) as bar:
        for _ in map_ahead(lambda path: _apply(reduction, path, output_dir), shards, threads):
            bar.update(1)
    return results


def _apply(reduction: Reduction, path: Path, output_dir: Path) -> None:
    target = output_dir / path.parent.name / path.name
    if not target.is_file():
        attributes = read_attributes(path) | {"embedding_key": reduction.key}
        write_reduced_shard(target, reduction.key, reduction.transform(read_dataset(path, TEACHER_KEY)), attributes)


def _fit(parameters: SimpleNamespace, chunks: Iterator[NDArray[np.float32]]) -> Reduction:
    if parameters.approx_mode == "pca" and parameters.pca_kernel == "linear":
        return fit_pca(chunks, parameters.student)
    if parameters.approx_mode == "pca":
        return fit_kernel_pca(chunks, parameters.student, parameters.pca_kernel, parameters.random_state)
    settings = UmapSettings(parameters.umap_n_neighbors, parameters.umap_min_dist, parameters.umap_metric)
    return fit_umap(chunks, parameters.student, settings, parameters.random_state)


def _picture(samples: list[Path], parameters: SimpleNamespace) -> dict[str, list[float]]:
    """Lay sampled embeddings out on a plane by t-SNE, for each sensor `[n, 2]`: a picture, and no reduction."""
    rng = np.random.default_rng(parameters.random_state)
    each = -(-parameters.tsne_points // len(samples))
    embeddings = [read_dataset(path, TEACHER_KEY) for path in samples]
    embeddings = [rows[np.sort(rng.permutation(len(rows))[:each])] for rows in embeddings]
    stacked = StandardScaler().fit_transform(np.concatenate(embeddings))
    perplexity = min(30, (len(stacked) - 1) / 3)
    logger.info("t-SNE of %d embeddings", len(stacked))
    plane = TSNE(perplexity=perplexity, init="pca", random_state=parameters.random_state).fit_transform(stacked)
    parts = np.split(plane, np.cumsum([len(rows) for rows in embeddings])[:-1])
    return {path.stem: part.round(3).tolist() for path, part in zip(samples, parts, strict=True)}


if __name__ == "__main__":
    sys.exit(run_stage("02-fit-reduction", reduce))
