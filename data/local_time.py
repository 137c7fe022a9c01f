"""Timestamps in a sensor's local time. Timestamps are Unix seconds; that of an undated recording is NaN."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError


def local_time(timestamps: NDArray[np.float64], time_zone: str) -> pd.DatetimeIndex:
    """Convert Unix seconds float64 `[n]` to the time of an IANA zone such as `America/New_York`; NaN becomes NaT.

    Raises
    ------
    InputError
        The time zone is not known.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise InputError(f"Time zone {time_zone!r} is not known; give an IANA name such as America/New_York.") from None
    # Whole seconds suffice for calendars, and avoid the conversion of NaN to integer nanoseconds.
    return pd.to_datetime(np.floor(timestamps), unit="s", utc=True).tz_convert(zone)
