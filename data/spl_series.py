"""Levels measured by a sound level meter beside a sensor: one series per sensor, at any interval.

A CSV file has the columns `timestamp` (Unix seconds, or ISO 8601, UTC by default) and `spl` (dBA). An HDF5 file has
datasets of these names, or `spl_timestamp` and `spl_vector` as the authors' index files.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.data.tables import read_columns, read_table
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)

_GAP = 1.5
"""Number of intervals of its series for which a value is valid; after that there is a gap."""


@dataclass(frozen=True)
class SplSeries:
    """A sensor's levels: Unix seconds float64 `[n]`, increasing, and dBA float64 `[n]`."""

    timestamp: NDArray[np.float64]
    level: NDArray[np.float64]

    @property
    def interval_s(self) -> float:
        """Typical time between two values."""
        return float(np.median(np.diff(self.timestamp))) if len(self.timestamp) > 1 else 1.0

    def levels(self, times: NDArray[np.float64], length_s: float) -> NDArray[np.float32]:
        """Average the values within each interval of `length_s` from `times`, as the authors average four per hop.

        Returns
        -------
        float32 `[m]`, dBA rounded to 0.01; NaN where the series has a gap. A series coarser than an interval gives
        the value that is valid at its beginning.
        """
        first = np.searchsorted(self.timestamp, times, side="left")
        last = np.searchsorted(self.timestamp, times + length_s, side="left")
        total = np.concatenate([[0.0], np.cumsum(self.level)])
        count = last - first
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (total[last] - total[first]) / count
        latest = np.maximum(np.searchsorted(self.timestamp, times, side="right") - 1, 0)
        age = times - self.timestamp[latest]
        valid = (age >= 0) & (age < _GAP * self.interval_s) & (self.interval_s > length_s)
        held = np.where(valid, self.level[latest], np.nan)
        return np.round(np.where(count > 0, mean, held), 2).astype(np.float32)


def find_series(root: Path, sensor: str) -> Path:
    """Find the file of a sensor's series; an `InputError` if there is none."""
    for suffix in (".csv", ".h5", ".hdf5"):
        if (path := root / f"{sensor}{suffix}").is_file():
            return path
    raise InputError(f"{root} has no levels of {sensor}: neither {sensor}.csv nor {sensor}.h5.")


def read_series(path: Path) -> SplSeries:
    """Read a series; values are sorted by time, invalid and repeated ones dropped with a warning.

    Raises
    ------
    InputError
        The file is no series, or holds no value.
    """
    if path.suffix == ".csv":
        table = read_table(path, ("timestamp", "spl"))
        timestamp, level = _seconds(table["timestamp"]), pd.to_numeric(table["spl"], errors="coerce").to_numpy(float)
    else:
        columns = read_columns(path, ("timestamp", "spl"), ("spl_timestamp", "spl_vector"))
        timestamp, level = (column.astype(np.float64).ravel() for column in columns)
    if len(timestamp) != len(level):
        raise InputError(f"{path} has {len(timestamp)} times, but {len(level)} levels.")
    finite = np.isfinite(timestamp) & np.isfinite(level)
    if n := int((~finite).sum()):
        logger.warning("%s: %d values are not numbers and are left out", path, n)
    timestamp, level = timestamp[finite], level[finite]
    if not len(timestamp):
        raise InputError(f"{path} holds no level.")
    if n := int((np.diff(timestamp) < 0).sum()):
        logger.warning("%s: the clock jumps back %d times; the values are sorted by time", path, n)
    timestamp, first = np.unique(timestamp, return_index=True)
    if n := len(level) - len(first):
        logger.warning("%s: %d values repeat a time; the first of each counts", path, n)
    return SplSeries(timestamp, level[first])


def _seconds(times: pd.Series) -> NDArray[np.float64]:
    if pd.api.types.is_numeric_dtype(times):
        return times.to_numpy(np.float64)
    moments = pd.to_datetime(times, format="ISO8601", utc=True, errors="coerce")
    return (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy().astype(np.float64)
