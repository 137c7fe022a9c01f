"""Stage 00: cut the recordings into frames, and store each with its level and its teacher embedding."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from l3embedding.cli.program import Job, Results, run_stage
from l3embedding.data.recordings import by_sensor, list_recordings
from l3embedding.data.shards import SPLITS, TEACHER_KEY, dataset_shape, list_shards
from l3embedding.jobs.folder import WHOLE
from l3embedding.models.teachers import load_teacher
from l3embedding.settings import RecordingsSettings, TeacherSettings
from l3embedding.upstream.extraction import extract_sensors, require_splits
from l3embedding.utils.errors import InputError


def extract(job: Job, recordings: RecordingsSettings, teacher: TeacherSettings, random_state: int) -> Results:
    """Extract every sensor; see `l3embedding.upstream.extraction`."""
    sensors = by_sensor(list_recordings(job.inputs["audio_root"]))
    excluded = recordings.exclude_sensor
    if excluded is not None and sensors.pop(excluded, None) is None:
        raise InputError(f"recordings.exclude_sensor: {excluded!r} is not among {', '.join(sensors)}.")
    model = load_teacher(teacher, random_state)
    mine = {sensor: sensors[sensor] for sensor in job.share.of(sorted(sensors))}
    spl_root = job.inputs.get("spl_root")
    skipped = extract_sensors(mine, model, recordings, job.folder, random_state, job.share == WHOLE, spl_root)
    return {
        "teacher_name": model.name,
        "teacher_licence": model.licence,
        "is_stand_in": model.is_stand_in,
        "teacher_embedding_size": model.embedding_size,
        "teacher_size_mb": model.size_mb,
        "teacher_activation_mb": model.activation_mb,
        "recordings": sum(map(len, mine.values())) - len(skipped),
        "skipped": skipped,
    }


def gather(parts: Sequence[Results], folder: Path) -> Results:
    """Count what all tasks have extracted, and check that there is something to train and to validate on."""
    skipped = [entry for part in parts for entry in part["skipped"]]
    shards = {split: list_shards(folder / split) for split in SPLITS}
    require_splits([path for paths in shards.values() for path in paths], len(skipped))
    frames = {split: sum(dataset_shape(path, TEACHER_KEY)[0] for path in paths) for split, paths in shards.items()}
    recordings = sum(part["recordings"] for part in parts)
    return {**parts[0], "recordings": recordings, "skipped": skipped, "frames": frames}


if __name__ == "__main__":
    sys.exit(run_stage("00-extract-teacher-embeddings", extract, gather))
