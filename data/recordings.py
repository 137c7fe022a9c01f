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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from l3embedding.data.audio import AUDIO_SUFFIXES
from l3embedding.data.esc50 import read_esc50
from l3embedding.data.tables import read_table
from l3embedding.utils.errors import InputError

_CALENDAR_TIME = re.compile(r"(?<!\d)(\d{8})[T_-]?(\d{6})(?!\d)")
_UNIX_TIME = re.compile(r"(?<!\d)(\d{10}(?:\.\d+)?)(?!\d)")


@dataclass(frozen=True)
class Recording:
    """One file of one sensor.

    Attributes
    ----------
    path
        The audio file.
    sensor
        Name of the sensor; it becomes part of a shard's file name.
    timestamp
        Unix seconds of the first sample; NaN if undated.
    spl
        Mean level in dBA as measured by a calibrated meter, or None.
    """

    path: Path
    sensor: str
    timestamp: float = float("nan")
    spl: float | None = None


def list_recordings(root: str | os.PathLike[str]) -> list[Recording]:
    """List the recordings below `root`, sorted by sensor, time and path.

    Raises
    ------
    InputError
        The folder is missing or holds no recordings, or a table is malformed (the row is named).
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
        recordings = _from_sensor_folders(root)
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


def _from_sensor_folders(root: Path) -> list[Recording]:
    return [
        Recording(path, folder.name, _time_in_name(path.stem))
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
    ]


def _time_in_name(stem: str) -> float:
    if match := _CALENDAR_TIME.search(stem):
        try:
            return datetime.strptime("".join(match.groups()), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass  # fourteen digits, but no date
    if match := _UNIX_TIME.search(stem):
        return float(match.group(1))
    return float("nan")


def _from_table(root: Path) -> list[Recording]:
    path = root / "recordings.csv"
    table = read_table(path, ("path", "sensor", "timestamp"), dtype=str, keep_default_na=False)
    if duplicated := table["path"][table["path"].duplicated()].tolist():
        raise InputError(f"{path} lists {duplicated[0]} more than once.")
    spl = table["spl"] if "spl" in table else [""] * len(table)
    return [
        Recording(root / name, _sensor(sensor, path, row), _timestamp(time, path, row), _spl(level, path, row))
        for row, (name, sensor, time, level) in enumerate(
            zip(table["path"], table["sensor"], table["timestamp"], spl, strict=True), start=2
        )
    ]


def _sensor(text: str, path: Path, row: int) -> str:
    if not text or text.startswith(".") or re.search(r"[/\\\s]", text):
        raise InputError(f"{path}, line {row}: {text!r} is no sensor name; use letters, digits, '-', '_' and '.'.")
    return text


def _timestamp(text: str, path: Path, row: int) -> float:
    if not text:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{path}, line {row}: timestamp {text!r} is neither Unix seconds nor ISO 8601.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _spl(text: str, path: Path, row: int) -> float | None:
    if not text:
        return None
    try:
        level = float(text)
    except ValueError:
        level = float("nan")
    if not np.isfinite(level):
        raise InputError(f"{path}, line {row}: spl {text!r} is not a level in dBA.")
    return level
