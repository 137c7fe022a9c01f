"""Lists of recordings, with sensor and time.

Three layouts are read, recognised by the folder's content:

- `recordings.csv` with the columns `path` (relative to the folder), `sensor`, `timestamp` (Unix seconds or ISO 8601,
  UTC by default) and, optionally, `spl` (dBA, the recording's mean level from a calibrated meter).
- `meta/esc50.csv` and `audio/`, the layout of ESC-50; each fold counts as a sensor.
- One folder per sensor: `SENSOR/*.wav|flac|ogg`. A time in the file name (`20190314T153000` or ten digits of Unix
  seconds) dates the recording; otherwise it is undated.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from l3embedding.data.audio import AUDIO_SUFFIXES
from l3embedding.data.esc50 import read_esc50
from l3embedding.data.tables import read_table
from l3embedding.utils.errors import InputError

_SENSOR_NAME = re.compile(r"[^./\\\s][^/\\\s]*")  # it becomes part of a shard's file name
_CALENDAR_TIME = re.compile(r"(?<!\d)(\d{8})[T_-]?(\d{6})(?!\d)")
_UNIX_TIME = re.compile(r"(?<!\d)(\d{10}(?:\.\d+)?)(?!\d)")


@dataclass(frozen=True)
class Recording:
    """One file of one sensor."""

    path: Path
    sensor: str
    timestamp: float = float("nan")
    """Unix seconds of the first sample; NaN if undated."""
    spl: float | None = None
    """Mean level in dBA as measured by a calibrated meter."""


def list_recordings(root: str | os.PathLike[str]) -> list[Recording]:
    """List the recordings below `root`, sorted by sensor, time and path.

    Raises
    ------
    InputError
        The folder is missing or holds no recordings, or a table is malformed; the message gives the line.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"The recordings folder {root} does not exist.")
    if (root / "recordings.csv").is_file():
        recordings = _from_table(root)
    elif (root / "meta" / "esc50.csv").is_file():
        clips = read_esc50(root)
        recordings = [Recording(path, f"fold-{fold}") for path, fold in zip(clips["path"], clips["fold"], strict=True)]
    else:
        recordings = [
            Recording(path, folder.name, _time_in_name(path.stem))
            for folder in sorted(root.iterdir())
            if folder.is_dir() and not folder.name.startswith(".")
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
        ]
    if not recordings:
        raise InputError(
            f"{root} holds no recordings: it needs one folder per sensor with "
            f"{', '.join(sorted(AUDIO_SUFFIXES))} files, or a recordings.csv (path, sensor, timestamp)."
        )
    return sorted(recordings, key=lambda r: (r.sensor, np.nan_to_num(r.timestamp, nan=-np.inf), str(r.path)))


def by_sensor(recordings: list[Recording]) -> dict[str, list[Recording]]:
    """Group recordings by sensor, keeping their order."""
    sensors: dict[str, list[Recording]] = {}
    for recording in recordings:
        sensors.setdefault(recording.sensor, []).append(recording)
    return sensors


def _time_in_name(stem: str) -> float:
    if match := _CALENDAR_TIME.search(stem):
        with suppress(ValueError):  # fourteen digits need not be a date
            return datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
    match = _UNIX_TIME.search(stem)
    return float(match[1]) if match else float("nan")


def _from_table(root: Path) -> list[Recording]:
    path = root / "recordings.csv"
    table = read_table(path, ("path", "sensor", "timestamp"), dtype=str, keep_default_na=False)
    if duplicated := table["path"][table["path"].duplicated()].tolist():
        raise InputError(f"{path} lists {duplicated[0]} more than once.")
    levels = table["spl"] if "spl" in table else [""] * len(table)
    columns = zip(table["path"], table["sensor"], table["timestamp"], levels, strict=True)
    recordings = []
    for line, (name, sensor, time, level) in enumerate(columns, start=2):
        row = f"{path}, line {line}"
        if not _SENSOR_NAME.fullmatch(sensor):
            raise InputError(f"{row}: {sensor!r} is no sensor name; use letters, digits, '-', '_' and '.'.")
        try:
            timestamp = _unix_seconds(time) if time else float("nan")
        except ValueError:
            raise InputError(f"{row}: timestamp {time!r} is neither Unix seconds nor ISO 8601.") from None
        spl = None
        with suppress(ValueError):
            spl = float(level)
        if level and (spl is None or not np.isfinite(spl)):
            raise InputError(f"{row}: spl {level!r} is not a level in dBA.")
        recordings.append(Recording(root / name, sensor, timestamp, spl))
    return recordings


def _unix_seconds(text: str) -> float:
    with suppress(ValueError):
        return float(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
