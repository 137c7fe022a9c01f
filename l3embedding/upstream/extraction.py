"""Teacher extraction: recordings in, upstream shards out.

A frame is one second for teacher and student alike; what a teacher of other frames hears of it is said
in `l3embedding.models.plugged`.

It goes over a sensor's recordings twice. The *survey* reads each once, reports the bad ones before
the teacher has spent an hour, and measures the level of every frame, since relevance ranks a frame
among all of its sensor's. The second pass embeds. Both passes are resumable: the survey by sensor,
the embedding by shard.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import frame_audio, read_audio, resample, to_int16
from l3embedding.data.loudness import calibrate, frame_levels, relevance
from l3embedding.data.recordings import Recording
from l3embedding.data.shards import SPLITS, Frames, read_attributes, write_upstream_shard
from l3embedding.data.spl_series import SplSeries, find_series, read_series
from l3embedding.embedding import embed_stream
from l3embedding.models.plugged import in_seconds
from l3embedding.models.teachers import EmbeddingModel
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json, write_json
from l3embedding.utils.parallel import map_ahead
from l3embedding.utils.progress import Progress, progress

logger = logging.getLogger(__name__)

FRAME_S = 1.0


@dataclass(frozen=True)
class ExtractionSettings:
    """How recordings become frames.

    Attributes
    ----------
    hop_size
        Between frames, s.
    audio_rate
        Rate at which the student's audio is stored, Hz.
    validate_fraction
        Share of each sensor's recordings kept for validation.
    recordings_per_shard
        Recordings in one shard.
    time_zone
        IANA time zone of the sensors.
    random_state
        Seed of the split.
    """

    hop_size: float
    audio_rate: int
    validate_fraction: float
    recordings_per_shard: int
    time_zone: str
    random_state: int


@dataclass(frozen=True)
class Survey:
    """What a first look at one sensor's recordings found.

    Attributes
    ----------
    recordings
        Those that can be used.
    relevance, levels
        For each recording, float32 `[n_frames]`.
    skipped
        `{"recording": path, "reason": sentence}` for each of the others.
    """

    recordings: list[Recording]
    levels: list[NDArray[np.float32]]
    relevance: list[NDArray[np.float32]]
    skipped: list[dict[str, str]]


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be written: its path, and rows of a `Survey`."""

    path: Path
    rows: list[int]


def survey_sensor(
    recordings: list[Recording], settings: ExtractionSettings, cache: Path, series: SplSeries | None = None
) -> Survey:
    """Look at each recording of a sensor once; measure levels, find the bad ones.

    Parameters
    ----------
    recordings
        All recordings of one sensor.
    settings
        How they become frames.
    cache
        JSON file that keeps the result, so that a second run need not read the audio again.
    series
        Levels that a meter measured; without it they are the audio's own.
    """
    if not cache.is_file():
        write_json(cache, _measure(recordings, settings, series))
    measured = read_json(cache)
    usable = [recording for recording in recordings if str(recording.path) in measured["levels"]]
    levels = [np.asarray(measured["levels"][str(recording.path)], np.float32) for recording in usable]
    if not usable:
        return Survey([], [], [], measured["skipped"])
    times = [_frame_times(recording, len(each), settings) for recording, each in zip(usable, levels, strict=True)]
    ranks = relevance(np.concatenate(levels), np.concatenate(times), settings.time_zone)
    ends = np.cumsum([len(each) for each in levels])[:-1]
    return Survey(usable, levels, np.split(ranks, ends), measured["skipped"])


def plan_shards(survey: Survey, sensor: str, output_dir: Path, settings: ExtractionSettings) -> list[ShardPlan]:
    """Split a sensor's recordings into train and validate, and into shards.

    The split is by recording, so that no two frames of one recording lie on both sides; it depends
    on the seed and the sensor's name alone. A sensor with a single recording gives it to train.
    """
    n = len(survey.recordings)
    if n == 0:
        logger.warning("%s: not one recording can be used", sensor)
        return []
    if n == 1:
        logger.warning("%s: its only recording goes to train; it gives nothing to validate", sensor)
    n_validate = 0 if n == 1 else max(1, round(settings.validate_fraction * n))
    rng = np.random.default_rng([settings.random_state, zlib.crc32(sensor.encode())])
    validate = set(rng.choice(n, n_validate, replace=False).tolist())
    plans = []
    for split in SPLITS:
        rows = [row for row in range(n) if (row in validate) == (split == "validate")]
        for index, start in enumerate(range(0, len(rows), settings.recordings_per_shard)):
            path = output_dir / split / f"{sensor}-{index:04d}.h5"
            plans.append(ShardPlan(path, rows[start : start + settings.recordings_per_shard]))
    return plans


def extract_shard(
    plan: ShardPlan, survey: Survey, teacher: EmbeddingModel, settings: ExtractionSettings, bar: Progress
) -> None:
    """Embed the recordings of one shard and write it; the teacher hears whole seconds."""
    parts: list[tuple[NDArray[np.int16], NDArray[np.float32]]] = []
    recordings = [survey.recordings[row] for row in plan.rows]
    counts = [len(survey.levels[row]) for row in plan.rows]
    for student_frames, embedding in embed_stream(_prefetch(recordings, counts, teacher, settings), teacher):
        parts.append((student_frames, embedding))
        bar.update(len(student_frames))
    frames = Frames(
        audio=np.concatenate([audio for audio, _ in parts]),
        embedding=np.concatenate([embedding for _, embedding in parts]),
        timestamp=np.concatenate([_frame_times(r, n, settings) for r, n in zip(recordings, counts, strict=True)]),
        spl=np.concatenate([survey.levels[row] for row in plan.rows]),
        relevance=np.concatenate([survey.relevance[row] for row in plan.rows]),
        recording=np.repeat(np.arange(len(recordings), dtype=np.int32), counts),
        recording_path=[str(recording.path) for recording in recordings],
    )
    attributes = {
        "sensor": recordings[0].sensor,
        "sample_rate": settings.audio_rate,
        "hop_size": settings.hop_size,
        "teacher": teacher.name,
        "teacher_weights_sha256": teacher.weights_sha256,
        "teacher_is_stand_in": teacher.is_stand_in,
    }
    write_upstream_shard(plan.path, frames, attributes)


def extract_sensors(
    sensors: dict[str, list[Recording]],
    teacher: EmbeddingModel,
    settings: ExtractionSettings,
    output_dir: Path,
    all_sensors: bool = True,
    spl_root: Path | None = None,
) -> list[dict[str, str]]:
    """Extract sensors; shards that are there are left alone.

    Parameters
    ----------
    sensors
        Their recordings.
    teacher
        What embeds.
    settings
        How recordings become frames.
    output_dir
        Folder of `train/` and `validate/`.
    all_sensors
        Whether these are all there are: then recordings must be left to train and to validate on,
        which is said before the first is embedded.
    spl_root
        Folder of a series of levels for each sensor, see `l3embedding.data.spl_series`.

    Returns
    -------
    The recordings that were skipped, each with the reason.

    Raises
    ------
    InputError
        These are all sensors, and no usable recording is left to train or to validate on.
    """
    teacher = in_seconds(teacher)
    files = {sensor: find_series(spl_root, sensor) for sensor in sensors} if spl_root else {}
    surveys = {
        sensor: survey_sensor(
            recordings,
            settings,
            output_dir / "survey" / f"{sensor}.json",
            read_series(files[sensor]) if sensor in files else None,
        )
        for sensor, recordings in sensors.items()
    }
    skipped = [entry for survey in surveys.values() for entry in survey.skipped]
    plans = {name: plan_shards(survey, name, output_dir, settings) for name, survey in surveys.items()}
    if all_sensors:
        require_splits([plan.path for each in plans.values() for plan in each], len(skipped))
    todo = [(plan, surveys[name]) for name, each in plans.items() for plan in each if not _is_there(plan, teacher)]
    n_frames = sum(len(survey.levels[row]) for plan, survey in todo for row in plan.rows)
    with progress(f"embedding with {teacher.name}", n_frames, "frames", logger) as bar:
        for plan, survey in todo:
            extract_shard(plan, survey, teacher, settings, bar)
    return skipped


def _is_there(plan: ShardPlan, teacher: EmbeddingModel) -> bool:
    """Say whether a shard is there; one of a teacher that has changed since is not."""
    if not plan.path.is_file():
        return False
    if read_attributes(plan.path)["teacher_weights_sha256"] == teacher.weights_sha256:
        return True
    logger.warning("%s is of another version of the teacher; it is made again", plan.path)
    return False


def require_splits(shards: list[Path], n_skipped: int) -> None:
    """Refuse shards (there or planned) that give nothing to train or to validate on.

    Raises
    ------
    InputError
        That is so.
    """
    for split in SPLITS:
        if not any(path.parent.name == split for path in shards):
            raise InputError(
                f"No usable recording is left to {split} on ({n_skipped} were skipped); "
                "a sensor needs two recordings to give one to validate."
            )


def _measure(recordings: list[Recording], settings: ExtractionSettings, series: SplSeries | None) -> dict[str, object]:
    twins = _twins(recordings)

    def measure(recording: Recording) -> NDArray[np.float32] | InputError:
        try:
            if (first := twins.get(recording.path)) is not None:
                raise InputError(f"{recording.path} begins at the same time as {first}: a duplicate.")
            audio, rate = read_audio(recording.path)
            if len(audio) < FRAME_S * rate:
                logger.warning("%s is shorter than a frame; it is padded with silence", recording.path)
            levels = frame_levels(audio, rate, round(FRAME_S * rate), round(settings.hop_size * rate))
            if series is not None:
                return _measured_levels(recording, len(levels), settings, series)
            return levels if recording.spl is None else calibrate(levels, recording.spl)
        except InputError as error:
            return error

    levels: dict[str, list[float]] = {}
    skipped: list[dict[str, str]] = []
    title = f"{recordings[0].sensor}: survey"
    with progress(title, len(recordings), "recordings", logger) as bar:
        for recording, measured in zip(recordings, map_ahead(measure, recordings, os.cpu_count() or 1), strict=True):
            if isinstance(measured, InputError):
                logger.warning("skipped: %s", measured)
                skipped.append({"recording": str(recording.path), "reason": str(measured)})
            else:
                levels[str(recording.path)] = [round(float(level), 2) for level in measured]
            bar.update(1)
    return {"levels": levels, "skipped": skipped}


def _twins(recordings: list[Recording]) -> dict[Path, Path]:
    """Recordings of one sensor that begin at the very time of an earlier one in the list."""
    first: dict[float, Path] = {}
    twins: dict[Path, Path] = {}
    for recording in recordings:
        if np.isfinite(recording.timestamp):
            earlier = first.setdefault(recording.timestamp, recording.path)
            if earlier != recording.path:
                twins[recording.path] = earlier
    return twins


def _measured_levels(
    recording: Recording, count: int, settings: ExtractionSettings, series: SplSeries
) -> NDArray[np.float32]:
    if not np.isfinite(recording.timestamp):
        raise InputError(f"{recording.path} has no timestamp, so its measured level cannot be found.")
    levels = series.levels(_frame_times(recording, count, settings), settings.hop_size)
    if (gaps := int(np.isnan(levels).sum())) > 0:
        raise InputError(f"{recording.path}: the measured levels have a gap at {gaps} of its {count} frames.")
    return levels


def _prefetch(
    recordings: list[Recording], counts: list[int], teacher: EmbeddingModel, settings: ExtractionSettings
) -> Iterator[tuple[NDArray[np.int16], NDArray[np.float32]]]:
    """Read and resample ahead of the teacher, a few recordings at a time."""

    def load(plan: tuple[Recording, int]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        recording, count = plan
        audio, rate = read_audio(recording.path)
        student = _frames_at(audio, rate, settings.audio_rate, settings.hop_size, count)
        return to_int16(student), _frames_at(audio, rate, teacher.sample_rate, settings.hop_size, count)

    return map_ahead(load, zip(recordings, counts, strict=True), threads=2)


def _frames_at(audio: NDArray[np.float32], rate: int, to_rate: int, hop_size: float, count: int) -> NDArray[np.float32]:
    """Cut `count` frames at another rate; rounding may leave the last a few samples short."""
    frame, hop = round(FRAME_S * to_rate), round(hop_size * to_rate)
    audio = resample(audio, rate, to_rate)
    missing = (count - 1) * hop + frame - len(audio)
    return frame_audio(np.pad(audio, (0, max(0, missing))), frame, hop, pad_end=False)[:count]


def _frame_times(recording: Recording, count: int, settings: ExtractionSettings) -> NDArray[np.float64]:
    return recording.timestamp + settings.hop_size * np.arange(count)
