"""Stage 01: draw the sample of teacher embeddings that the reduction is fitted on."""

from __future__ import annotations

import logging
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from data.shards import SensorFrames, sensors_in, write_sample
from l3embedding.sampling import calendar_groups, draw_sample, share_out
from scripts.program import run_stage

logger = logging.getLogger(__name__)


def sample(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Sample the training frames of each sensor; see `l3embedding.sampling`."""
    frames = {sensor: SensorFrames(shards) for sensor, shards in sensors_in(inputs["audio_dir"] / "train").items()}
    counts = [len(each) for each in frames.values()]
    combined = parameters.sampling_scope == "combined"
    sizes = share_out(parameters.sample_size, counts) if combined else [parameters.sample_size] * len(counts)
    drawn = {}
    for (sensor, each), size in parameters.share.of(list(zip(frames.items(), sizes, strict=True))):
        # A generator of its own, so that the sample does not depend on how sensors share the work.
        rng = np.random.default_rng([parameters.random_state, zlib.crc32(sensor.encode())])
        groups = calendar_groups(each.timestamp, parameters.timescale, parameters.time_zone)
        rows = draw_sample(each.read_embeddings, each.relevance, groups, parameters.sampling, size, rng)
        write_sample(output_dir / f"{sensor}.h5", each, rows)
        logger.info("%s: %d of %d frames, from %d groups", sensor, len(rows), len(each), len(groups))
        drawn[sensor] = len(rows)
    return {"n_frames": sum(counts), "by_sensor": drawn}


def gather(parts: list[dict[str, Any]], output_dir: Path) -> dict[str, Any]:
    """Put the sensors of all tasks together."""
    by_sensor = dict(sorted(item for part in parts for item in part["by_sensor"].items()))
    return {"n_sampled": sum(by_sensor.values()), "n_frames": parts[0]["n_frames"], "by_sensor": by_sensor}


if __name__ == "__main__":
    sys.exit(run_stage("01-sample-teacher-embeddings", sample, gather))
