"""The scenes of DCASE 2013: `scenes_stereo/CLASSnn.wav`, ten classes of ten recordings of 30 s.

The data set has no table: a file's class is its name without the number. It has no folds either, so five stratified
ones are defined here by the number of the recording: 1 and 6 of each class are fold 1, 2 and 7 fold 2, and so on.

References
----------
Giannoulis et al., Detection and Classification of Acoustic Scenes and Events: An IEEE AASP Challenge, WASPAA 2013.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd

from l3embedding.utils.errors import InputError

SCENES = "scenes_stereo"
N_FOLDS = 5
_NAME = re.compile(r"([a-z]+)(\d+)\.wav")


def read_dcase2013(root: str | os.PathLike[str]) -> pd.DataFrame:
    """List the clips in `root/scenes_stereo` or in `root` itself: `filename`, `path`, `fold` and `category`.

    Raises
    ------
    InputError
        The folder is missing or holds no clip, or a file's name is not class and number.
    """
    folder = Path(root) / SCENES if (Path(root) / SCENES).is_dir() else Path(root)
    paths = sorted(path for path in folder.glob("*.wav") if not path.name.startswith("."))
    if not paths:
        raise InputError(f"There is no clip (bus01.wav, ...) in {Path(root) / SCENES}.")
    rows = []
    for path in paths:
        if (named := _NAME.fullmatch(path.name)) is None:
            raise InputError(f"{path} is not named as a scene of DCASE 2013: a class and a number, such as bus01.wav.")
        fold = (int(named[2]) - 1) % N_FOLDS + 1
        rows.append({"filename": path.name, "path": path, "fold": fold, "category": named[1]})
    return pd.DataFrame(rows)
