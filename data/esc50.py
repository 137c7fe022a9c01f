"""The layout of ESC-50: `meta/esc50.csv`, `audio/`, five fixed folds.

References
----------
Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from l3embedding.data.tables import keep_present, read_clip_table


def read_esc50(root: str | os.PathLike[str]) -> pd.DataFrame:
    """List the clips whose audio is present: `filename`, `path`, `fold`, `target` and `category`, sorted by file name.

    Raises
    ------
    InputError
        The table is missing, malformed or lacks a column, or all audio is missing.
    """
    path, audio = Path(root) / "meta" / "esc50.csv", Path(root) / "audio"
    table = read_clip_table(path, {name: name for name in ("filename", "fold", "target", "category")})
    return keep_present(table.assign(path=[audio / name for name in table["filename"]]), path, audio)
