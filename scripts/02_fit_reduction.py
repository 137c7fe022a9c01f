"""Stage 02: fit phi on the sample, and apply it to every upstream shard."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.shards import (
    SPLITS,
    TEACHER_KEY,
    read_attributes,
    read_dataset,
    require_shards,
    write_reduced_shard,
)
from l3embedding.settings import ReductionSettings, StudentSettings
from l3embedding.upstream.reduction import fit_reduction
from l3embedding.utils.parallel import map_ahead
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)


def reduce(job: Job, reduction: ReductionSettings, student: StudentSettings, random_state: int) -> Results:
    """Fit and apply; see `l3embedding.upstream.reduction`. Finished shards are kept."""
    samples = (read_dataset(path, TEACHER_KEY) for path in require_shards(job.inputs["sample_dir"]))
    phi = fit_reduction(samples, student.dim, reduction, random_state)
    phi.save(job.folder / "phi.h5")
    results: dict[str, Any] = {"embedding_key": phi.key, "n_sampled": phi.n_samples}
    if (explained := phi.explained_variance_ratio) is not None:
        logger.info("%s explains %.1f %% of the sample's variance", phi.key, 100 * explained.sum())
        results |= {"explained_variance_ratio": float(explained.sum()), "explained_variance_ratios": explained.tolist()}

    def apply(path: Path) -> None:
        target = job.folder / path.parent.name / path.name
        if not target.is_file():
            attributes = read_attributes(path) | {"embedding_key": phi.key}
            write_reduced_shard(target, phi.key, phi.transform(read_dataset(path, TEACHER_KEY)), attributes)

    shards = [path for split in SPLITS for path in require_shards(job.inputs["audio_dir"] / split)]
    with progress("reducing", len(shards), "shards", logger) as bar:
        # Threads, since reading and writing wait for the disk.
        for _ in map_ahead(apply, shards, threads=4):
            bar.update(1)
    return results


if __name__ == "__main__":
    sys.exit(run_stage("02-fit-reduction", reduce))
