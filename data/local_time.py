"""Timestamps seen on a sensor's own clock and calendar.

Timestamps are Unix seconds in UTC; NaN says that a recording is undated.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError


def local_time(timestamps: NDArray[np.float64], time_zone: str) -> pd.DatetimeIndex:
    """Convert Unix seconds to local wall-clock time; undated ones become NaT.

    Parameters
    ----------
    timestamps
        float64 `[n]`, s, UTC.
    time_zone
        An IANA name such as `America/New_York`; its daylight saving is honoured.

    Raises
    ------
    InputError
        The time zone is not known.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise InputError(f"Time zone {time_zone!r} is not known; give an IANA name such as America/New_York.") from None
    # Whole seconds suffice for calendars, and keep NaN out of integer nanoseconds.
    return pd.to_datetime(np.floor(timestamps), unit="s", utc=True).tz_convert(zone)
