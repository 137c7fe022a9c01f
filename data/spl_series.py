"""Levels that a sound level meter measured beside a sensor: one series a sensor, at any interval.

A CSV file has the columns `timestamp` (Unix seconds, or ISO 8601 in UTC unless it says otherwise) and
`spl` (dBA). An HDF5 file has datasets of these names, or `spl_timestamp` and `spl_vector` as the
authors' index files have them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

_HDF5_NAMES = (("timestamp", "spl"), ("spl_timestamp", "spl_vector"))
_GAP = 1.5
"""A value holds for so many intervals of its series; what comes later is a gap."""


@dataclass(frozen=True)
class SplSeries:
    """A sensor's levels.

    Attributes
    ----------
    timestamp
        Unix seconds, float64 `[n]`, increasing.
    level
        dBA, float64 `[n]`.
    """

    timestamp: NDArray[np.float64]
    level: NDArray[np.float64]

    @property
    def interval_s(self) -> float:
        """Typical time between two values."""
        return float(np.median(np.diff(self.timestamp))) if len(self.timestamp) > 1 else 1.0

    def levels(self, times: NDArray[np.float64], length_s: float) -> NDArray[np.float32]:
        """Average the values within each stretch of time, as the authors average four to a hop.

        Parameters
        ----------
        times
            Beginnings of the stretches, Unix seconds, float64 `[m]`.
        length_s
            Their length, s.

        Returns
        -------
        float32 `[m]`, dBA rounded to 0.01; NaN where the series has a gap. A series coarser than a
        stretch gives the value that holds at its beginning.
        """
        first = np.searchsorted(self.timestamp, times, side="left")
        last = np.searchsorted(self.timestamp, times + length_s, side="left")
        total = np.concatenate([[0.0], np.cumsum(self.level)])
        count = last - first
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total[last] - total[first]) / count
        holding = np.maximum(np.searchsorted(self.timestamp, times, side="right") - 1, 0)
        age = times - self.timestamp[holding]
        holds = (age >= 0) & (age < _GAP * self.interval_s) & (self.interval_s > length_s)
        held = np.where(holds, self.level[holding], np.nan)
        return np.round(np.where(count > 0, mean, held), 2).astype(np.float32)


def find_series(root: Path, sensor: str) -> Path:
    """Where a sensor's series lies.

    Raises
    ------
    InputError
        There is none.
    """
    for suffix in (".csv", ".h5", ".hdf5"):
        if (path := root / f"{sensor}{suffix}").is_file():
            return path
    raise InputError(f"{root} has no levels of {sensor}: neither {sensor}.csv nor {sensor}.h5.")


def read_series(path: Path) -> SplSeries:
    """Read a series; values out of order are sorted, values that are no number or repeat a time are dropped, and said.

    Raises
    ------
    InputError
        The file is no series, or holds no value.
    """
    timestamp, level = _read_csv(path) if path.suffix == ".csv" else _read_hdf5(path)
    if len(timestamp) != len(level):
        raise InputError(f"{path} has {len(timestamp)} times, but {len(level)} levels.")
    finite = np.isfinite(timestamp) & np.isfinite(level)
    if (n := int((~finite).sum())) > 0:
        logger.warning("%s: %d values are no numbers, and are left out", path, n)
    timestamp, level = timestamp[finite], level[finite]
    if not len(timestamp):
        raise InputError(f"{path} holds no level.")
    if (n := int((np.diff(timestamp) < 0).sum())) > 0:
        logger.warning("%s: the clock jumps back %d times; the values are sorted by time", path, n)
    timestamp, first = np.unique(timestamp, return_index=True)
    if (n := len(level) - len(first)) > 0:
        logger.warning("%s: %d values repeat a time; the first of each counts", path, n)
    return SplSeries(timestamp, level[first])


def _read_csv(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        table = pd.read_csv(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV table: {error}") from None
    if missing := [name for name in ("timestamp", "spl") if name not in table]:
        raise InputError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}.")
    level = pd.to_numeric(table["spl"], errors="coerce").to_numpy(np.float64)
    if pd.api.types.is_numeric_dtype(table["timestamp"]):
        return table["timestamp"].to_numpy(np.float64), level
    moments = pd.to_datetime(table["timestamp"], format="ISO8601", utc=True, errors="coerce")
    seconds = (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return seconds.to_numpy(np.float64), level


def _read_hdf5(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        with h5py.File(path, "r") as file:
            fields = {name: file[name] for name in file if isinstance(file[name], h5py.Dataset)}
            for dataset in list(fields.values()):
                # Fields of a compound dataset count as datasets.
                fields |= {name: dataset.fields(name) for name in dataset.dtype.names or ()}
            for time_name, level_name in _HDF5_NAMES:
                if time_name in fields and level_name in fields:
                    return tuple(np.asarray(fields[name][:], np.float64).ravel() for name in (time_name, level_name))
            held = ", ".join(sorted(fields)) or "none"
    except OSError as error:
        raise InputError(f"{path} cannot be read as HDF5: {error}") from None
    raise InputError(f"{path} has neither timestamp and spl nor spl_timestamp and spl_vector; it has {held}.")
