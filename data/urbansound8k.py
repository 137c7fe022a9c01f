"""UrbanSound8K: `metadata/UrbanSound8K.csv`, `audio/fold1` to `audio/fold10`, ten fixed folds.

8 732 clips of at most 4 s in ten classes. All clips of a recording are in the same fold, so do not mix folds.

References
----------
Salamon, Jacoby and Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from l3embedding.data.tables import keep_present, read_clip_table

TABLE = "metadata/UrbanSound8K.csv"


def read_urbansound8k(root: str | os.PathLike[str]) -> pd.DataFrame:
    """List the clips whose audio is present: `filename`, `path`, `fold` and `category`, sorted by file name.

    Raises
    ------
    InputError
        The table is missing, malformed or lacks a column, or all audio is missing.
    """
    path, audio = Path(root) / TABLE, Path(root) / "audio"
    table = read_clip_table(path, {"slice_file_name": "filename", "fold": "fold", "class": "category"})
    places = [audio / f"fold{fold}" / name for fold, name in zip(table["fold"], table["filename"], strict=True)]
    return keep_present(table.assign(path=places), path, audio)
