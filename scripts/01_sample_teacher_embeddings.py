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
from numpy.typing import NDArray

from l3embedding.cli.program import run_stage
from l3embedding.data.shards import SensorFrames, read_dataset, sensors_in, write_sample
from l3embedding.upstream.diagnostics import diagnose
from l3embedding.upstream.sampling import DppSettings, calendar_groups, draw_sample, share_out
from l3embedding.utils.progress import progress

logger = logging.getLogger(__name__)

_DIAGNOSED = 4096
"""Sampled frames of a sensor that are judged, at most."""


def sample(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Sample the training frames of each sensor; see `l3embedding.upstream.sampling`."""
    frames = {sensor: SensorFrames(shards) for sensor, shards in sensors_in(inputs["audio_dir"] / "train").items()}
    counts = [len(each) for each in frames.values()]
    combined = parameters.sampling_scope == "combined"
    sizes = share_out(parameters.sample_size, counts) if combined else [parameters.sample_size] * len(counts)
    dpp = DppSettings(parameters.dpp_kernel, parameters.dpp_method, parameters.dpp_steps)
    drawn, diagnostics = {}, {}
    mine = parameters.share.of(list(zip(frames.items(), sizes, strict=True)))
    with progress("sampling", sum(len(each) for (_, each), _ in mine), "frames", logger) as bar:
        for (sensor, each), size in mine:
            # Generators of its own, so that the sample does not depend on how sensors share the work.
            seed = [parameters.random_state, zlib.crc32(sensor.encode())]
            target = output_dir / f"{sensor}.h5"
            if not target.is_file():
                groups = calendar_groups(each.timestamp, parameters.timescale, parameters.time_zone)
                rng = np.random.default_rng(seed)
                rows = draw_sample(each.read_embeddings, each.relevance, groups, parameters.sampling, size, rng, dpp)
                write_sample(target, each, rows)
                logger.info("%s: %d of %d frames, from %d groups", sensor, len(rows), len(each), len(groups))
            rows = read_dataset(target, "row")
            drawn[sensor] = len(rows)
            if len(rows):
                diagnostics[sensor] = _diagnose(each, rows, np.random.default_rng([*seed, 1]))
            bar.update(len(each))
    return {"n_frames": sum(counts), "by_sensor": drawn, "diagnostics": diagnostics}


def _diagnose(frames: SensorFrames, rows: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Any]:
    """Judge the sample beside random ones; of a large one, a part of either."""
    rows = np.sort(rng.permutation(rows)[:_DIAGNOSED])
    pool = np.sort(rng.permutation(len(frames))[: max(4 * len(rows), 2048)])
    diagnosed = diagnose(
        frames.read_embeddings(pool), frames.relevance[pool], frames.read_embeddings(rows), frames.relevance[rows], rng
    )
    for name, measure in diagnosed.items():
        logger.info(
            "  %s: %.4f, of random samples %.4f +- %.4f",
            name.replace("_", " "),
            measure["sample"],
            measure["random_mean"],
            measure["random_std"],
        )
    return diagnosed


def gather(parts: list[dict[str, Any]], output_dir: Path) -> dict[str, Any]:
    """Put the sensors of all tasks together."""
    by_sensor = dict(sorted(item for part in parts for item in part["by_sensor"].items()))
    return {
        "n_sampled": sum(by_sensor.values()),
        "n_frames": parts[0]["n_frames"],
        "by_sensor": by_sensor,
        "diagnostics": dict(sorted(item for part in parts for item in part["diagnostics"].items())),
    }


if __name__ == "__main__":
    sys.exit(run_stage("01-sample-teacher-embeddings", sample, gather))
