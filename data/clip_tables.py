"""What the readers of data sets with fixed folds share: a table of clips, and which of them are there.

Every such reader returns a row a clip, sorted by file name, with at least `filename`, `path`, `fold` (a
whole number) and `category` (the name of its class).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)


def read_clip_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a CSV table of clips.

    Parameters
    ----------
    path
        The file.
    columns
        Column of the file to its name in the result, among them `filename`, `fold` and `category`.

    Raises
    ------
    InputError
        The table is missing, malformed, lacks a column, or a row lacks a value or has no fold (the row
        is named), or names a clip twice.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"The table {path} cannot be read: {error}") from None
    if missing := [column for column in columns if column not in table]:
        raise InputError(f"{path} lacks the column {', '.join(missing)}; it has {', '.join(table.columns)}.")
    table = table[list(columns)].rename(columns=dict(columns))
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
    """Keep the clips whose `path` is a file, and name the others.

    Parameters
    ----------
    table
        With the columns `filename` and `path`.
    source
        The table's file, for the messages.
    folder
        Where the audio was looked for.

    Raises
    ------
    InputError
        Not one is there.
    """
    there = table["path"].map(Path.is_file)
    if not there.any():
        raise InputError(f"Not one clip that {source} lists is in {folder}.")
    for clip in table["filename"][~there]:
        logger.warning("skipped: %s lists %s, which is not in %s", source, clip, folder)
    return table[there].reset_index(drop=True)
