"""Stage 01: draw the sample of teacher embeddings that phi is fitted on."""

from __future__ import annotations

import logging
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.shards import (
    TEACHER_KEY,
    SensorFrames,
    dataset_shape,
    read_dataset,
    shards_by_sensor,
    write_sample,
)
from l3embedding.settings import RecordingsSettings, SampleSettings
from l3embedding.upstream.diagnostics import diagnose_sample
from l3embedding.upstream.sampling import calendar_groups, draw_sample, share_out
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)


def sample(job: Job, sample: SampleSettings, recordings: RecordingsSettings, random_state: int) -> Results:
    """Sample the training frames of each sensor; see `l3embedding.upstream.sampling`."""
    sensors = shards_by_sensor(job.inputs["audio_dir"])
    counts = [sum(dataset_shape(path, TEACHER_KEY)[0] for path in shards["train"]) for shards in sensors.values()]
    sizes = share_out(sample.size, counts) if sample.scope == "combined" else [sample.size] * len(counts)
    drawn, diagnostics = {}, {}
    mine = job.share.of(list(zip(sensors.items(), counts, sizes, strict=True)))
    with progress("sampling", sum(count for _, count, _ in mine), "frames", logger) as bar:
        for (sensor, shards), count, size in mine:
            frames = SensorFrames(shards["train"], shards["validate"], recordings.time_zone)
            # Each sensor has generators of its own, so that the sample does not depend on how tasks share the sensors.
            seed = [random_state, zlib.crc32(sensor.encode())]
            target = job.folder / f"{sensor}.h5"
            if not target.is_file():
                groups = calendar_groups(frames.timestamp, sample.timescale, recordings.time_zone)
                rng = np.random.default_rng(seed)
                rows = draw_sample(frames.read_embeddings, frames.relevance, groups, sample, size, rng)
                write_sample(target, frames, rows)
                logger.info("%s: %d of %d frames, from %d groups", sensor, len(rows), count, len(groups))
            rows = read_dataset(target, "row")
            drawn[sensor] = len(rows)
            if len(rows):
                diagnostics[sensor] = diagnose_sample(frames, rows, np.random.default_rng([*seed, 1]))
                for name, measure in diagnostics[sensor].items():
                    text = "  {}: {sample:.4f}, of random samples {random_mean:.4f} +- {random_std:.4f}"
                    logger.info("%s", text.format(name.replace("_", " "), **measure))
            bar.update(count)
    return {"n_frames": sum(counts), "by_sensor": drawn, "diagnostics": diagnostics}


def gather(parts: Sequence[Results], folder: Path) -> Results:
    """Merge the sensors of all tasks."""
    by_sensor = dict(sorted(item for part in parts for item in part["by_sensor"].items()))
    return {
        "n_sampled": sum(by_sensor.values()),
        "n_frames": parts[0]["n_frames"],
        "by_sensor": by_sensor,
        "diagnostics": dict(sorted(item for part in parts for item in part["diagnostics"].items())),
    }


if __name__ == "__main__":
    sys.exit(run_stage("01-sample-teacher-embeddings", sample, gather))
