"""Teacher extraction: from recordings to upstream shards.

A frame is one second for teacher and student alike; for a teacher whose frames are shorter or longer, see
`l3embedding.models.interface`.

The *survey* reads the headers of a sensor's recordings. It finds most bad files before the first is embedded. It also
determines which recording belongs to which split and shard, so it is kept: a resumed run has the same splits. Each
recording is then decoded once, for its levels, the student's audio and the teacher's frames. A recording that proves
bad only then is left out of its shard, which records why.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l3embedding.data.audio import frame_audio, probe_audio, read_audio, resample, to_int16
from l3embedding.data.loudness import calibrate, frame_levels
from l3embedding.data.recordings import Recording
from l3embedding.data.shards import SPLITS, Frames, read_attributes, read_skipped, write_upstream_shard
from l3embedding.data.spl_series import SplSeries, find_series, read_series
from l3embedding.embedding import embed_stream
from l3embedding.models.interface import in_seconds
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
    """From the headers of a sensor's recordings: frames of each usable one, by path, and the unusable ones."""

    frames: dict[str, int]
    skipped: list[Skipped]


@dataclass(frozen=True)
class _Decoded:
    """A recording's part of a shard, except its embedding."""

    path: str
    audio: NDArray[np.int16]
    levels: NDArray[np.float32]
    times: NDArray[np.float64]


def extract_sensors(
    sensors: Mapping[str, list[Recording]],
    teacher: EmbeddingModel,
    settings: RecordingsSettings,
    output_dir: Path,
    random_state: int,
    all_sensors: bool = True,
    spl_root: Path | None = None,
) -> list[dict[str, str]]:
    """Write the shards of sensors to `output_dir/train` and `output_dir/validate`; finished shards are kept.

    Parameters
    ----------
    all_sensors
        Whether there are no others; if so, a missing split is reported before the first recording is embedded.
    spl_root
        Folder of measured levels, see `l3embedding.data.spl_series`; by default, levels are computed from the audio.

    Returns
    -------
    `{"recording": path, "reason": sentence}` for each recording that was skipped.

    Raises
    ------
    InputError
        A sensor's levels are missing; or these are all sensors, and nothing is left to train or validate on.
    """
    files = {sensor: find_series(spl_root, sensor) for sensor in sensors} if spl_root else {}
    series = {sensor: read_series(path) for sensor, path in files.items()}
    teacher = in_seconds(teacher)
    extractors = [
        _Extractor(name, recordings, teacher, settings, output_dir, random_state, series.get(name))
        for name, recordings in sensors.items()
    ]
    surveys = [each.survey() for each in extractors]
    if all_sensors:
        planned = [path for each, survey in zip(extractors, surveys, strict=True) for path in each.plan(survey)]
        require_splits(planned, sum(len(survey.skipped) for survey in surveys))
    skipped: list[Skipped] = []
    total = sum(sum(survey.frames.values()) for survey in surveys)
    with progress(f"embedding with {teacher.name}", total, "frames", logger) as bar:
        for each, survey in zip(extractors, surveys, strict=True):
            skipped += each.extract(survey, bar)
    return [{"recording": recording, "reason": reason} for recording, reason in skipped]


@dataclass(frozen=True)
class _Extractor:
    sensor: str
    recordings: list[Recording]
    teacher: EmbeddingModel
    settings: RecordingsSettings
    output_dir: Path
    random_state: int
    series: SplSeries | None

    @property
    def _cache(self) -> Path:
        return self.output_dir / "survey" / f"{self.sensor}.json"

    def survey(self) -> Survey:
        """Read the headers of the recordings, or what an earlier run found in them."""
        if self._cache.is_file():
            kept = read_json(self._cache)
            return Survey(kept["frames"], [(path, reason) for path, reason in kept["skipped"]])
        survey = Survey({}, [])
        first: dict[float, Path] = {}
        dated = [recording for recording in self.recordings if np.isfinite(recording.timestamp)]
        earliest = {each.path: first.setdefault(each.timestamp, each.path) for each in dated}

        def inspect(recording: Recording) -> int | InputError:
            """Count the frames of a recording, or return why it cannot be used."""
            try:
                if (other := earliest.get(recording.path, recording.path)) != recording.path:
                    raise InputError(f"{recording.path} begins at the same time as {other}: a duplicate.")
                length, rate = probe_audio(recording.path)
                count = 1 + max(length - round(FRAME_S * rate), 0) // round(self.settings.hop_size * rate)
                self._measured_levels(recording, count)  # reports gaps
                return count
            except InputError as error:
                return error

        with progress(f"{self.sensor}: survey", len(self.recordings), "recordings", logger) as bar:
            # Headers are small reads, which wait for the file server; threads overlap the waiting.
            for recording, found in zip(self.recordings, map_ahead(inspect, self.recordings, 16), strict=True):
                if isinstance(found, InputError):
                    survey.skipped.append(_skip(recording, found))
                else:
                    survey.frames[str(recording.path)] = found
                bar.update(1)
        write_json(self._cache, asdict(survey))
        return survey

    def plan(self, survey: Survey) -> dict[Path, list[Recording]]:
        """Assign the recordings to splits and shards: path to recordings.

        All frames of a recording are in the same split, which depends only on the seed, the sensor's name and the
        number of recordings. A single recording is for training.
        """
        usable = [recording for recording in self.recordings if str(recording.path) in survey.frames]
        n_validate = max(1, round(self.settings.validate_fraction * len(usable))) if len(usable) > 1 else 0
        rng = np.random.default_rng([self.random_state, zlib.crc32(self.sensor.encode())])
        validate = set(rng.choice(len(usable), n_validate, replace=False).tolist()) if n_validate else set()
        shards = {}
        for split in SPLITS:
            part = [each for row, each in enumerate(usable) if (row in validate) == (split == "validate")]
            for index, start in enumerate(range(0, len(part), self.settings.per_shard)):
                path = self.output_dir / split / f"{self.sensor}-{index:04d}.h5"
                shards[path] = part[start : start + self.settings.per_shard]
        return shards

    def extract(self, survey: Survey, bar: Progress) -> list[Skipped]:
        """Write the shards that are not finished; returns the recordings that were skipped."""
        if len(survey.frames) < 2:
            logger.warning("%s: too few usable recordings to validate on (%d)", self.sensor, len(survey.frames))
        shards = self.plan(survey)
        validate = [path for path in shards if path.parent.name == "validate"]
        skipped: list[Skipped] = []
        # The validation shards first: while they alone are written, the split can still be changed.
        for path in sorted(shards, key=lambda path: path not in validate):
            if validate and path not in validate and not any(each.is_file() for each in validate):
                # Every validation recording proved bad. Without them, the sensor is split again.
                bad = {recording for recording, _ in skipped}
                frames = {path: count for path, count in survey.frames.items() if path not in bad}
                survey = Survey(frames, survey.skipped + skipped)
                write_json(self._cache, asdict(survey))
                return self.extract(survey, bar)
            exists = path.is_file()
            if exists and read_attributes(path)["teacher_weights_sha256"] == self.teacher.weights_sha256:
                skipped += read_skipped(path)
                bar.update(sum(survey.frames[str(recording.path)] for recording in shards[path]))
                continue
            if exists:
                logger.warning("%s is from another version of the teacher; it is replaced", path)
            skipped += self._write_shard(path, shards[path], bar)
        return survey.skipped + skipped

    def _write_shard(self, path: Path, recordings: list[Recording], bar: Progress) -> list[Skipped]:
        """Decode, embed and write recordings, unless all are bad; returns those that were skipped."""
        skipped: list[Skipped] = []
        parts: list[_Decoded] = []
        embeddings: list[NDArray[np.float32]] = []

        def decoded() -> Iterator[tuple[_Decoded, NDArray[np.float32]]]:
            for recording, result in zip(recordings, map_ahead(self._decode, recordings, _DECODERS), strict=True):
                if isinstance(result, InputError):
                    skipped.append(_skip(recording, result))
                else:
                    yield result

        for part, embedding in embed_stream(decoded(), self.teacher):
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
            recording_path=[part.path for part in parts],
            skipped=skipped,
        )
        attributes = {
            "sensor": self.sensor,
            "sample_rate": self.settings.audio_rate,
            "hop_size": self.settings.hop_size,
            "teacher": self.teacher.name,
            "teacher_weights_sha256": self.teacher.weights_sha256,
            "teacher_is_stand_in": self.teacher.is_stand_in,
        }
        write_upstream_shard(path, frames, attributes)
        return skipped

    def _decode(self, recording: Recording) -> tuple[_Decoded, NDArray[np.float32]] | InputError:
        """Decode a recording; returns it with the teacher's frames."""
        hop_size = self.settings.hop_size
        try:
            audio, rate = read_audio(recording.path)
            levels = frame_levels(audio, rate, round(FRAME_S * rate), round(hop_size * rate))
            count = len(levels)
            if (measured := self._measured_levels(recording, count)) is not None:
                levels = measured
            elif recording.spl is not None:
                levels = calibrate(levels, recording.spl)
        except InputError as error:
            return error
        if len(audio) < FRAME_S * rate:
            logger.warning("%s is shorter than a frame; it is padded with silence", recording.path)
        student = to_int16(_frames_at(audio, rate, self.settings.audio_rate, hop_size, count))
        decoded = _Decoded(str(recording.path), student, levels, self._frame_times(recording, count))
        return decoded, _frames_at(audio, rate, self.teacher.sample_rate, hop_size, count)

    def _measured_levels(self, recording: Recording, count: int) -> NDArray[np.float32] | None:
        if self.series is None:
            return None
        if not np.isfinite(recording.timestamp):
            raise InputError(f"{recording.path} has no timestamp, so its measured level cannot be found.")
        levels = self.series.levels(self._frame_times(recording, count), self.settings.hop_size)
        if gaps := int(np.isnan(levels).sum()):
            raise InputError(f"{recording.path}: the measured levels have a gap at {gaps} of its {count} frames.")
        return levels

    def _frame_times(self, recording: Recording, count: int) -> NDArray[np.float64]:
        return recording.timestamp + self.settings.hop_size * np.arange(count, dtype=np.float64)


def require_splits(shards: list[Path], n_skipped: int) -> None:
    """Raise an `InputError` if there are no shards, existing or planned, to train or to validate on."""
    for split in SPLITS:
        if not any(path.parent.name == split for path in shards):
            raise InputError(
                f"No usable recording is left to {split} on ({n_skipped} were skipped); "
                "a sensor needs two recordings for one of them to be validated on."
            )


def _skip(recording: Recording, error: InputError) -> Skipped:
    logger.warning("skipped: %s", error)
    return str(recording.path), str(error)


def _frames_at(audio: NDArray[np.float32], rate: int, to_rate: int, hop_size: float, count: int) -> NDArray[np.float32]:
    """Cut `count` frames at another rate, at which rounding may leave the last a few samples short."""
    frame, hop = round(FRAME_S * to_rate), round(hop_size * to_rate)
    audio = resample(audio, rate, to_rate)
    missing = (count - 1) * hop + frame - len(audio)
    return frame_audio(np.pad(audio, (0, max(0, missing))), frame, hop, pad_end=False)[:count]
