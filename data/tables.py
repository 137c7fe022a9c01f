"""Tables and columns read from files, with errors that name the file and what it lacks."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from l3embedding.utils.errors import InputError


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


def read_columns(path: Path, *alternatives: tuple[str, ...]) -> list[NDArray[Any]]:
    """Read columns of an HDF5 file: datasets, or fields of compound datasets.

    Parameters
    ----------
    *alternatives
        Names of the columns; the first alternative of which all are there is read.

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
