"""Tables and columns read from files, with errors that name the file and what it lacks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError

logger = logging.getLogger(__name__)


def read_table(path: str | os.PathLike[str], columns: Iterable[str], **options: Any) -> pd.DataFrame:
    """Read a CSV table that has at least these columns; the options are those of pandas.

    Raises
    ------
    InputError
        The file is missing, is no CSV table, or lacks a column.
    """
    try:
        table = pd.read_csv(path, **options)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a CSV table: {error}") from None
    if missing := [column for column in columns if column not in table]:
        has = ", ".join(map(str, table.columns[:8])) + (", ..." if len(table.columns) > 8 else "")
        raise InputError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has {has}.")
    return table


def read_clip_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read the CSV table of a data set with fixed folds: one row per clip, sorted by file name.

    The columns map a name in the file to one in the result. The result has at least `filename`, `fold` (a whole
    number) and `category` (the name of the clip's class). An `InputError` names the row that lacks a value, has no
    fold or repeats a clip.
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
    """Keep the clips whose `path` is a file; warn of the others, or raise an `InputError` if all are missing.

    `source` and `folder` are for the messages.
    """
    present = table["path"].map(Path.is_file)
    if not present.any():
        raise InputError(f"Not one clip that {source} lists is in {folder}.")
    for clip in table["filename"][~present]:
        logger.warning("skipped: %s lists %s, which is not in %s", source, clip, folder)
    return table[present].reset_index(drop=True)


def read_columns(path: Path, *alternatives: tuple[str, ...]) -> list[NDArray[Any]]:
    """Read columns of an HDF5 file, datasets or fields of compound datasets, by the first alternative that it has.

    Raises
    ------
    InputError
        The file is missing or no HDF5 file, or has none of the alternatives.
    """
    try:
        with h5py.File(path, "r") as file:
            datasets = {name: each for name, each in file.items() if isinstance(each, h5py.Dataset)}
            for each in list(datasets.values()):
                datasets |= {name: each.fields(name) for name in each.dtype.names or ()}
            for names in alternatives:
                if datasets.keys() >= set(names):
                    return [np.asarray(datasets[name][:]) for name in names]
    except OSError as error:
        raise InputError(f"{path} cannot be read as HDF5: {error}") from None
    wanted = ", nor ".join(" and ".join(names) for names in alternatives)
    raise InputError(f"{path} does not have {wanted}; it has {', '.join(sorted(datasets)) or 'nothing'}.")
