"""SONYC-UST: its taxonomy, its annotations, its clips.

`annotations.csv` has a row for each clip and annotator. Annotator 0 is the agreed ground truth, negative
numbers are the SONYC team, positive ones volunteers. Presence is 1, 0, or -1 where a row does not say.

References
----------
Cartwright et al., SONYC-UST-V2, DCASE 2020 workshop; Zenodo records 3693077 and 3966543.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from data.audio import AUDIO_SUFFIXES
from data.errors import InputError

logger = logging.getLogger(__name__)

ANNOTATIONS = "annotations.csv"
TAXONOMY = "dcase-ust-taxonomy.yaml"
UNCERTAIN = "X"
"""Key of the fine tag that says: of this coarse kind, but which is not known."""


@dataclass(frozen=True)
class Category:
    """A coarse category and its fine tags.

    Attributes
    ----------
    number, name
        E.g. 1 and `engine`.
    fine
        Key to name, e.g. `{"1": "small-sounding-engine", ..., "X": "engine-of-uncertain-size"}`.
    """

    number: int
    name: str
    fine: Mapping[str, str]

    @property
    def column(self) -> str:
        """Column of the coarse tag, e.g. `1_engine`."""
        return f"{self.number}_{self.name}"

    @property
    def fine_columns(self) -> list[str]:
        """Columns of the complete fine tags, e.g. `1-1_small-sounding-engine`."""
        return [self._fine_column(key) for key in self.fine if key != UNCERTAIN]

    @property
    def uncertain_column(self) -> str | None:
        """Column of the fine tag of uncertain kind, if the category has one."""
        return self._fine_column(UNCERTAIN) if UNCERTAIN in self.fine else None

    def _fine_column(self, key: str) -> str:
        return f"{self.number}-{key}_{self.fine[key]}"


@dataclass(frozen=True)
class Taxonomy:
    """The coarse categories, in order."""

    categories: tuple[Category, ...]

    @property
    def coarse_columns(self) -> list[str]:
        """Columns of the coarse tags."""
        return [category.column for category in self.categories]

    @property
    def columns(self) -> list[str]:
        """Columns of all tags: of each category the fine ones, then the uncertain one, then the coarse one."""
        return [
            column
            for category in self.categories
            for column in (*category.fine_columns, category.uncertain_column, category.column)
            if column
        ]


def read_taxonomy(path: str | os.PathLike[str]) -> Taxonomy:
    """Read the taxonomy's YAML file.

    Raises
    ------
    InputError
        The file is missing or not a taxonomy.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return Taxonomy(
            tuple(
                Category(int(number), str(name), {str(key): str(tag) for key, tag in content["fine"][number].items()})
                for number, name in content["coarse"].items()
            )
        )
    except OSError as error:
        raise InputError(f"The taxonomy {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is not a taxonomy with `coarse` and `fine` tags: {error}") from None


def read_annotations(path: str | os.PathLike[str], taxonomy: Taxonomy) -> pd.DataFrame:
    """Read the annotations.

    Returns
    -------
    A row for each clip and annotator, with at least `split`, `sensor_id`, `audio_filename`, `annotator_id`,
    and the presence of each tag of the taxonomy under the tag's own column name (int).

    Raises
    ------
    InputError
        The file is missing, lacks a column, or holds a presence that is not 1, 0 or -1.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"The annotations {path} cannot be read: {error}") from None
    presence = {f"{column}_presence": column for column in taxonomy.columns}
    needed = ["split", "sensor_id", "audio_filename", "annotator_id", *presence]
    if missing := [column for column in needed if column not in table]:
        raise InputError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}.")
    values = table[list(presence)]
    # A word makes text of its whole column; the other rows are not to blame.
    wrong = ~np.isin(values.apply(pd.to_numeric, errors="coerce"), (-1, 0, 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        name = list(presence)[column]
        raise InputError(f"{path}, line {row + 2}: {name} is {values.iat[row, column]}; presence is 1, 0 or -1.")
    return table.rename(columns=presence).astype(dict.fromkeys(presence.values(), int))


def ground_truth(annotations: pd.DataFrame, taxonomy: Taxonomy, split: str = "validate") -> pd.DataFrame:
    """The verified tags of a split: a row a clip, sorted by file name, a 0/1 column for each tag.

    Raises
    ------
    InputError
        The split has no verified clip, or a clip is verified twice, or a verified tag is -1.
    """
    verified = annotations[(annotations["annotator_id"] == 0) & (annotations["split"] == split)]
    if verified.empty:
        splits = ", ".join(sorted(annotations["split"].unique()))
        raise InputError(f"No clip of the split {split!r} is verified (annotator_id 0); the splits are {splits}.")
    truth = verified.set_index("audio_filename")[taxonomy.columns].sort_index()
    if truth.index.has_duplicates:
        raise InputError(f"{truth.index[truth.index.duplicated()][0]} has two rows of annotator 0.")
    if (unsaid := (truth == -1).any(axis=1)).any():
        raise InputError(f"{truth.index[unsaid][0]}: a tag of annotator 0 is -1; verified tags are 0 or 1.")
    return truth


def training_targets(annotations: pd.DataFrame, columns: list[str], split: str = "train") -> pd.DataFrame:
    """Targets by minority vote: present if annotator 0 says so, else if any annotator does.

    Returns
    -------
    A row a clip, sorted by file name; a 0/1 column for each of `columns`.

    Raises
    ------
    InputError
        The split has no clips.
    """
    rows = annotations[annotations["split"] == split]
    if rows.empty:
        raise InputError(f"The annotations have no clip of the split {split!r}.")
    votes = (rows.set_index("audio_filename")[columns] == 1).astype(int)
    targets = votes.groupby(level=0).max().sort_index()
    verified = votes[(rows["annotator_id"] == 0).to_numpy()].groupby(level=0).max()
    targets.loc[verified.index] = verified
    return targets


def find_clips(root: str | os.PathLike[str], names: list[str]) -> dict[str, Path]:
    """Find clips by file name in the data set's folder, wherever they were unpacked below it.

    Clips that are not there are named in a warning and left out.

    Raises
    ------
    InputError
        Not one is there.
    """
    found = {path.name: path for path in Path(root).rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES}
    clips = {name: found[name] for name in sorted(set(names)) if name in found}
    if not clips:
        raise InputError(f"Not one annotated clip lies below {root}; unpack the audio there.")
    for name in sorted(set(names) - clips.keys()):
        logger.warning("skipped: the annotated clip %s is not below %s", name, root)
    return clips


def sensor_ids(annotations: pd.DataFrame, names: pd.Index) -> NDArray[np.int64]:
    """The sensor of each clip, int64 `[n]`."""
    return annotations.drop_duplicates("audio_filename").set_index("audio_filename")["sensor_id"].loc[names].to_numpy()
