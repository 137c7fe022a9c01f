"""Stage 00: cut the recordings into frames, and store each with its teacher embedding and relevance."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from l3embedding.cli.program import load_teacher, run_stage
from l3embedding.data.recordings import by_sensor, list_recordings
from l3embedding.data.shards import SPLITS, TEACHER_KEY, dataset_shape, list_shards
from l3embedding.jobs.folder import WHOLE
from l3embedding.upstream.extraction import ExtractionSettings, extract_sensors, require_splits
from l3embedding.utils.errors import InputError


def extract(parameters: SimpleNamespace, inputs: Mapping[str, Path], output_dir: Path) -> dict[str, Any]:
    """Extract every sensor; see `l3embedding.upstream.extraction`."""
    sensors = by_sensor(list_recordings(inputs["audio_root"]))
    if parameters.exclude_sensor is not None and sensors.pop(parameters.exclude_sensor, None) is None:
        raise InputError(f"exclude_sensor: there is no {parameters.exclude_sensor!r}; there are {', '.join(sensors)}.")
    teacher = load_teacher(parameters)
    settings = ExtractionSettings(
        hop_size=parameters.upstream_hop_size,
        audio_rate=parameters.asr,
        validate_fraction=parameters.validate_fraction,
        recordings_per_shard=parameters.recordings_per_shard,
        time_zone=parameters.time_zone,
        random_state=parameters.random_state,
    )
    share = parameters.share
    mine = {sensor: sensors[sensor] for sensor in share.of(sorted(sensors))}
    skipped = extract_sensors(mine, teacher, settings, output_dir, share == WHOLE, inputs.get("spl_root"))
    return {
        "teacher_name": teacher.name,
        "teacher_licence": teacher.licence,
        "is_stand_in": teacher.is_stand_in,
        "teacher_embedding_size": teacher.embedding_size,
        "teacher_size_mb": teacher.size_mb,
        "teacher_activation_mb": teacher.activation_mb,
        "recordings": sum(map(len, mine.values())) - len(skipped),
        "skipped": skipped,
    }


def gather(parts: list[dict[str, Any]], output_dir: Path) -> dict[str, Any]:
    """Count what all tasks have extracted, and see that there is something to train and to validate on."""
    skipped = [entry for part in parts for entry in part["skipped"]]
    shards = {split: list_shards(output_dir / split) for split in SPLITS}
    require_splits([path for paths in shards.values() for path in paths], len(skipped))
    frames = {split: sum(dataset_shape(path, TEACHER_KEY)[0] for path in paths) for split, paths in shards.items()}
    return parts[0] | {"recordings": sum(part["recordings"] for part in parts), "skipped": skipped, "frames": frames}


if __name__ == "__main__":
    sys.exit(run_stage("00-extract-teacher-embeddings", extract, gather))
