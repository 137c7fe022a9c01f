"""Teacher extraction: from recordings to upstream shards.

A frame is one second for teacher and student alike; `l3embedding.models.plugged` describes what a teacher
whose frames are shorter or longer is given.

The *survey* looks at the headers of a sensor's recordings. It finds most bad files before the first is embedded,
and it decides which recording belongs to which split and shard, so it is kept: a resumed run has the same splits.
Each recording is then decoded once, for its levels, the student's audio and the teacher's frames. A recording that
turns out to be bad at that point is left out of its shard, which records why.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import frame_audio, probe_audio, read_audio, resample, to_int16
from l3embedding.data.loudness import calibrate, frame_levels
from l3embedding.data.recordings import Recording
from l3embedding.data.shards import SPLITS, Frames, read_attributes, read_skipped, write_upstream_shard
from l3embedding.data.spl_series import SplSeries, find_series, read_series
from l3embedding.embedding import embed_stream
from l3embedding.models.plugged import in_seconds
from l3embedding.models.teachers import EmbeddingModel
from l3embedding.settings import RecordingsSettings
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json, write_json
from l3embedding.utils.parallel import map_ahead
from l3embedding.utils.progress import Progress, progress

logger = logging.getLogger(__name__)

FRAME_S = 1.0

_DECODERS = 4
"""Threads that decode ahead of the teacher; one is too slow for a GPU, and each holds three recordings in memory."""

Skipped = tuple[str, str]
"""A recording's path, and why it cannot be used."""


@dataclass(frozen=True)
class Survey:
    """What the headers of one sensor's recordings show.

    Attributes
    ----------
    recordings
        Those that seem usable.
    counts
        Frames in each.
    skipped
        The others.
    """

    recordings: list[Recording]
    counts: list[int]
    skipped: list[Skipped]


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be written: its path, its recordings and how many frames they have."""

    path: Path
    recordings: list[Recording]
    n_frames: int


@dataclass(frozen=True)
class _Decoded:
    """A recording's share of a shard, without its embedding."""

    recording: Recording
    audio: NDArray[np.int16]
    levels: NDArray[np.float32]
    times: NDArray[np.float64]


def extract_sensors(
    sensors: dict[str, list[Recording]],
    teacher: EmbeddingModel,
    settings: RecordingsSettings,
    output_dir: Path,
    random_state: int,
    all_sensors: bool = True,
    spl_root: Path | None = None,
) -> list[dict[str, str]]:
    """Write the shards of sensors; finished shards are kept.

    Parameters
    ----------
    sensors
        The recordings of each.
    teacher
        The model that embeds.
    output_dir
        Folder of `train/` and `validate/`.
    random_state
        Seed of the splits.
    all_sensors
        Whether there are no others; if so, missing splits are reported before the first recording is embedded.
    spl_root
        Folder of the sensors' measured levels, see `l3embedding.data.spl_series`; by default the levels are
        those of the audio.

    Returns
    -------
    `{"recording": path, "reason": sentence}` for each recording that was skipped.

    Raises
    ------
    InputError
        A sensor's levels are missing; or these are all sensors, and nothing is left to train or validate on.
    """
    teacher = in_seconds(teacher)
    files = {sensor: find_series(spl_root, sensor) for sensor in sensors} if spl_root else {}
    series = {sensor: read_series(path) for sensor, path in files.items()}
    skipped: list[Skipped] = []
    todo: list[ShardPlan] = []
    planned: list[Path] = []
    for sensor, recordings in sensors.items():
        cache = output_dir / "survey" / f"{sensor}.json"
        survey = survey_sensor(recordings, settings, cache, series.get(sensor))
        skipped += survey.skipped
        for plan in plan_shards(survey, sensor, output_dir, settings, random_state):
            planned.append(plan.path)
            if _is_finished(plan.path, teacher):
                skipped += read_skipped(plan.path)
            else:
                todo.append(plan)
    if all_sensors:
        require_splits(planned, len(skipped))
    with progress(f"embedding with {teacher.name}", sum(plan.n_frames for plan in todo), "frames", logger) as bar:
        for plan in todo:
            skipped += extract_shard(plan, teacher, settings, series.get(plan.recordings[0].sensor), bar)
    return [{"recording": recording, "reason": reason} for recording, reason in skipped]


def survey_sensor(
    recordings: list[Recording], settings: RecordingsSettings, cache: Path, series: SplSeries | None = None
) -> Survey:
    """Look at the headers of a sensor's recordings.

    Parameters
    ----------
    recordings
        All recordings of one sensor.
    cache
        JSON file that keeps the result.
    series
        Its measured levels, which must cover every recording.
    """
    if not cache.is_file():
        duplicates = _duplicates(recordings)

        def inspect(recording: Recording) -> int | InputError:
            try:
                if first := duplicates.get(recording.path):
                    raise InputError(f"{recording.path} begins at the same time as {first}: a duplicate.")
                length, rate = probe_audio(recording.path)
                frame, hop = round(FRAME_S * rate), round(settings.hop_size * rate)
                count = 1 + max(length - frame, 0) // hop
                if series is not None:
                    _measured_levels(recording, count, settings, series)
                return count
            except InputError as error:
                return error

        counts: dict[str, int] = {}
        skipped: list[Skipped] = []
        title = f"{recordings[0].sensor}: survey"
        with progress(title, len(recordings), "recordings", logger) as bar:
            # Headers are small reads, which wait for the file server; threads overlap the waiting.
            for recording, found in zip(recordings, map_ahead(inspect, recordings, 16), strict=True):
                if isinstance(found, InputError):
                    skipped.append(_skip(recording, found))
                else:
                    counts[str(recording.path)] = found
                bar.update(1)
        write_json(cache, {"frames": counts, "skipped": skipped})
    kept = read_json(cache)
    usable = [recording for recording in recordings if str(recording.path) in kept["frames"]]
    return Survey(
        usable,
        [kept["frames"][str(recording.path)] for recording in usable],
        [(path, reason) for path, reason in kept["skipped"]],
    )


def plan_shards(
    survey: Survey, sensor: str, output_dir: Path, settings: RecordingsSettings, random_state: int
) -> list[ShardPlan]:
    """Split a sensor's recordings into train and validate, and into shards.

    The split is by recording, so that the frames of one recording are all on one side. It depends only on the seed,
    the sensor's name and the number of recordings. A sensor with a single recording has no validation split.
    """
    n = len(survey.recordings)
    if n == 0:
        logger.warning("%s: not one recording can be used", sensor)
        return []
    if n == 1:
        logger.warning("%s: its only recording goes to train; it gives nothing to validate", sensor)
    n_validate = 0 if n == 1 else max(1, round(settings.validate_fraction * n))
    rng = np.random.default_rng([random_state, zlib.crc32(sensor.encode())])
    validate = set(rng.choice(n, n_validate, replace=False).tolist())
    plans = []
    for split in SPLITS:
        rows = [row for row in range(n) if (row in validate) == (split == "validate")]
        for index, start in enumerate(range(0, len(rows), settings.per_shard)):
            part = rows[start : start + settings.per_shard]
            plans.append(
                ShardPlan(
                    output_dir / split / f"{sensor}-{index:04d}.h5",
                    [survey.recordings[row] for row in part],
                    sum(survey.counts[row] for row in part),
                )
            )
    return plans


def extract_shard(
    plan: ShardPlan, teacher: EmbeddingModel, settings: RecordingsSettings, series: SplSeries | None, bar: Progress
) -> list[Skipped]:
    """Decode and embed the recordings of one shard, and write it; returns the recordings that were skipped.

    A shard of which every recording is bad is not written.
    """
    skipped: list[Skipped] = []
    parts: list[_Decoded] = []
    embeddings: list[NDArray[np.float32]] = []
    for part, embedding in embed_stream(_decode_ahead(plan.recordings, teacher, settings, series, skipped), teacher):
        parts.append(part)
        embeddings.append(embedding)
        bar.update(len(embedding))
    if not parts:
        return skipped
    frames = Frames(
        audio=np.concatenate([part.audio for part in parts]),
        embedding=np.concatenate(embeddings),
        timestamp=np.concatenate([part.times for part in parts]),
        spl=np.concatenate([part.levels for part in parts]),
        recording=np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.levels) for part in parts]),
        recording_path=[str(part.recording.path) for part in parts],
        skipped=skipped,
    )
    attributes = {
        "sensor": parts[0].recording.sensor,
        "sample_rate": settings.audio_rate,
        "hop_size": settings.hop_size,
        "teacher": teacher.name,
        "teacher_weights_sha256": teacher.weights_sha256,
        "teacher_is_stand_in": teacher.is_stand_in,
    }
    write_upstream_shard(plan.path, frames, attributes)
    return skipped


def require_splits(shards: list[Path], n_skipped: int) -> None:
    """Refuse shards, existing or planned, without any to train or to validate on.

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


def _is_finished(path: Path, teacher: EmbeddingModel) -> bool:
    if not path.is_file():
        return False
    if read_attributes(path)["teacher_weights_sha256"] == teacher.weights_sha256:
        return True
    logger.warning("%s is of another version of the teacher; it is made again", path)
    return False


def _duplicates(recordings: list[Recording]) -> dict[Path, Path]:
    """Recordings of one sensor that begin at the exact time of an earlier one in the list, and that one."""
    first: dict[float, Path] = {}
    return {
        recording.path: first[recording.timestamp]
        for recording in recordings
        if np.isfinite(recording.timestamp) and first.setdefault(recording.timestamp, recording.path) != recording.path
    }


def _skip(recording: Recording, error: InputError) -> Skipped:
    logger.warning("skipped: %s", error)
    return str(recording.path), str(error)


def _decode_ahead(
    recordings: list[Recording],
    teacher: EmbeddingModel,
    settings: RecordingsSettings,
    series: SplSeries | None,
    skipped: list[Skipped],
) -> Iterator[tuple[_Decoded, NDArray[np.float32]]]:
    """Yield recordings with the teacher's frames, decoded ahead of the teacher; bad ones are added to `skipped`."""

    def decode(recording: Recording) -> tuple[_Decoded, NDArray[np.float32]] | InputError:
        try:
            audio, rate = read_audio(recording.path)
            levels = frame_levels(audio, rate, round(FRAME_S * rate), round(settings.hop_size * rate))
            count = len(levels)
            if series is not None:
                levels = _measured_levels(recording, count, settings, series)
            elif recording.spl is not None:
                levels = calibrate(levels, recording.spl)
        except InputError as error:
            return error
        if len(audio) < FRAME_S * rate:
            logger.warning("%s is shorter than a frame; it is padded with silence", recording.path)
        student = _frames_at(audio, rate, settings.audio_rate, settings.hop_size, count)
        decoded = _Decoded(recording, to_int16(student), levels, _frame_times(recording, count, settings))
        return decoded, _frames_at(audio, rate, teacher.sample_rate, settings.hop_size, count)

    for recording, result in zip(recordings, map_ahead(decode, recordings, _DECODERS), strict=True):
        if isinstance(result, InputError):
            skipped.append(_skip(recording, result))
        else:
            yield result


def _measured_levels(
    recording: Recording, count: int, settings: RecordingsSettings, series: SplSeries
) -> NDArray[np.float32]:
    if not np.isfinite(recording.timestamp):
        raise InputError(f"{recording.path} has no timestamp, so its measured level cannot be found.")
    levels = series.levels(_frame_times(recording, count, settings), settings.hop_size)
    if gaps := int(np.isnan(levels).sum()):
        raise InputError(f"{recording.path}: the measured levels have a gap at {gaps} of its {count} frames.")
    return levels


def _frames_at(audio: NDArray[np.float32], rate: int, to_rate: int, hop_size: float, count: int) -> NDArray[np.float32]:
    """Cut `count` frames at another rate, where rounding may leave the last a few samples short."""
    frame, hop = round(FRAME_S * to_rate), round(hop_size * to_rate)
    audio = resample(audio, rate, to_rate)
    missing = (count - 1) * hop + frame - len(audio)
    return frame_audio(np.pad(audio, (0, max(0, missing))), frame, hop, pad_end=False)[:count]


def _frame_times(recording: Recording, count: int, settings: RecordingsSettings) -> NDArray[np.float64]:
    return recording.timestamp + settings.hop_size * np.arange(count, dtype=np.float64)
