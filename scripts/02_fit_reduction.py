"""Stage 02: fit phi on the sample, and apply it to every upstream shard."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from data.progress import progress
from data.shards import SPLITS, TEACHER_KEY, read_attributes, read_dataset, require_shards, write_reduced_shard
from l3embedding.reduction import embedding_key, fit_pca
from scripts.program import run_stage

logger = logging.getLogger(__name__)


def reduce(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Fit and apply; see `l3embedding.reduction`. Shards that are there already are left alone."""
    samples = require_shards(inputs["sample_dir"])
    reduction = fit_pca((read_dataset(path, TEACHER_KEY) for path in samples), parameters.student)
    reduction.save(output_dir / "phi.h5")
    key = embedding_key(reduction)
    explained = float(reduction.explained_variance_ratio.sum())
    logger.info("%s explains %.1f %% of the sample's variance", key, 100 * explained)
    shards = [path for split in SPLITS for path in require_shards(inputs["audio_dir"] / split)]
    with progress("reducing", len(shards), "shards", logger) as bar:
        for path in shards:
            target = output_dir / path.parent.name / path.name
            if not target.is_file():
                attributes = read_attributes(path) | {"embedding_key": key}
                write_reduced_shard(target, key, reduction.transform(read_dataset(path, TEACHER_KEY)), attributes)
            bar.update(1)
    return {
        "embedding_key": key,
        "n_sampled": reduction.n_samples,
        "explained_variance_ratio": explained,
        "explained_variance_ratios": reduction.explained_variance_ratio.tolist(),
    }


if __name__ == "__main__":
    sys.exit(run_stage("02-fit-reduction", reduce))
