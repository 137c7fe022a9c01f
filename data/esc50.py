"""The layout of ESC-50: `meta/esc50.csv`, `audio/`, five fixed folds.

References
----------
Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd

from data.errors import InputError

logger = logging.getLogger(__name__)


def read_esc50(root: str | os.PathLike[str]) -> pd.DataFrame:
    """List the clips.

    Returns
    -------
    A row a clip, sorted by file name: `filename`, `path`, `fold`, `target`, `category`. Clips whose
    audio is missing are named in a warning and left out.

    Raises
    ------
    InputError
        The table is missing, malformed or lacks a column, or no clip is there.
    """
    path = Path(root) / "meta" / "esc50.csv"
    try:
        table = pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"The table {path} cannot be read: {error}") from None
    columns = ["filename", "fold", "target", "category"]
    if missing := [column for column in columns if column not in table]:
        raise InputError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}.")
    table = table[columns].sort_values("filename", ignore_index=True)
    table["path"] = [Path(root) / "audio" / name for name in table["filename"]]
    there = table["path"].map(Path.is_file)
    for clip in table["filename"][~there]:
        logger.warning("skipped: %s lists %s, which is not in %s", path, clip, Path(root) / "audio")
    if not there.any():
        raise InputError(f"Not one clip that {path} lists is in {Path(root) / 'audio'}.")
    return table[there].reset_index(drop=True)
