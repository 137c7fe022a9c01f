"""Tables of clips, as the data sets with fixed folds have them.

Every reader returns one row per clip, sorted by file name, with at least `filename`, `path`, `fold` (a whole number)
and `category` (the name of its class).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from l3embedding.data.tables import read_table
from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)


def read_clip_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a CSV table of clips.

    Parameters
    ----------
    columns
        Column of the file to its name in the result, among them `filename`, `fold` and `category`.

    Raises
    ------
    InputError
        The table is missing, malformed or lacks a column; or a row lacks a value, has no fold or repeats a clip.
    """
    table = read_table(path, columns)[list(columns)].rename(columns=dict(columns))
    folds = pd.to_numeric(table["fold"], errors="coerce")
    for bad, reason in (
        (folds.isna() | (folds % 1 != 0), "has no whole number as its fold"),
        (table.isna().any(axis=1), "lacks a value"),
        (table["filename"].duplicated(), "names a clip that an earlier row names"),
    ):
        if bad.any():
            raise InputError(f"{path}: row {int(bad.argmax()) + 2} {reason}: {table[bad].iloc[0].to_dict()}.")
    return table.assign(fold=folds.astype(int)).sort_values("filename", ignore_index=True)


def keep_present(table: pd.DataFrame, source: Path, folder: Path) -> pd.DataFrame:
    """Keep the clips whose `path` is a file, and warn of the others; `source` and `folder` are for the messages.

    Raises
    ------
    InputError
        All are missing.
    """
    there = table["path"].map(Path.is_file)
    if not there.any():
        raise InputError(f"Not one clip that {source} lists is in {folder}.")
    for clip in table["filename"][~there]:
        logger.warning("skipped: %s lists %s, which is not in %s", source, clip, folder)
    return table[there].reset_index(drop=True)
