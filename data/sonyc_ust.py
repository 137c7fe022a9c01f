"""SONYC-UST: its taxonomy, its annotations, its clips.

`annotations.csv` has a row per clip and annotator. Annotator 0 is the agreed ground truth, negative numbers are the
SONYC team, positive ones volunteers. Presence is 1, 0, or -1 if not annotated. Proximity, of fine tags only, is near,
far, notsure, or -1.

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
from typing import Literal

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from l3embedding.data.audio import AUDIO_SUFFIXES
from l3embedding.data.tables import read_table
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

TargetMode = Literal["any", "verified"]

logger = logging.getLogger(__name__)

ANNOTATIONS = "annotations.csv"
TAXONOMY = "dcase-ust-taxonomy.yaml"
UNCERTAIN = "X"
"""Key of the fine tag for sources whose coarse category is known, but not which of its fine tags."""


@dataclass(frozen=True)
class Category:
    """A coarse category, e.g. 1 and `engine`, and its fine tags."""

    number: int
    name: str
    fine: Mapping[str, str]  # key to name, e.g. {"1": "small-sounding-engine", ..., "X": "engine-of-uncertain-size"}

    @property
    def column(self) -> str:
        """Column of the coarse tag, e.g. `1_engine`."""
        return f"{self.number}_{self.name}"

    @property
    def fine_columns(self) -> list[str]:
        """Columns of the fine tags, except the uncertain one."""
        return [self.fine_column(key) for key in self.fine if key != UNCERTAIN]

    @property
    def uncertain_column(self) -> str | None:
        """Column of the fine tag of uncertain kind, if the category has one."""
        return self.fine_column(UNCERTAIN) if UNCERTAIN in self.fine else None

    @property
    def columns(self) -> list[str]:
        """Columns of all its tags: the fine ones, then the uncertain one, then the coarse one."""
        return [column for column in (*self.fine_columns, self.uncertain_column, self.column) if column]

    def fine_column(self, key: str) -> str:
        """Column of a fine tag, e.g. `1-1_small-sounding-engine`."""
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
        """Columns of all tags, category by category."""
        return [column for category in self.categories for column in category.columns]


def read_taxonomy(path: str | os.PathLike[str]) -> Taxonomy:
    """Read the taxonomy's YAML file.

    Raises
    ------
    InputError
        The file is missing or not a taxonomy.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        categories = []
        for number, name in content["coarse"].items():
            fine = {str(key): str(tag) for key, tag in content["fine"][number].items()}
            categories.append(Category(int(number), str(name), fine))
        return Taxonomy(tuple(categories))
    except OSError as error:
        raise InputError(f"The taxonomy {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} is not a taxonomy with `coarse` and `fine` tags: {error}") from None


def read_annotations(path: str | os.PathLike[str], taxonomy: Taxonomy) -> pd.DataFrame:
    """Read the annotations, one row per clip and annotator.

    The table has at least `split`, `sensor_id`, `audio_filename`, `annotator_id`, and the presence of each tag of the
    taxonomy, int, under the tag's name.

    Raises
    ------
    InputError
        The file is missing, lacks a column, or holds a presence that is not 1, 0 or -1.
    """
    presence = {f"{column}_presence": column for column in taxonomy.columns}
    table = read_table(path, ["split", "sensor_id", "audio_filename", "annotator_id", *presence])
    values = table[list(presence)]
    # A single word turns the whole column into text, but only its own row is wrong.
    wrong = ~np.isin(values.apply(pd.to_numeric, errors="coerce"), (-1, 0, 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        name, value = list(presence)[column], str(values.iat[row, column])
        raise InputError(f"{path}, line {row + 2}: {name} is {value}; presence is 1, 0 or -1.")
    return table.rename(columns=presence).astype(dict.fromkeys(presence.values(), int))


def ground_truth(annotations: pd.DataFrame, taxonomy: Taxonomy, split: str = "validate") -> pd.DataFrame:
    """The verified tags of a split: one row per clip, sorted by file name, and a 0/1 column per tag.

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
    if (missing := (truth == -1).any(axis=1)).any():
        raise InputError(f"{truth.index[missing][0]}: a tag of annotator 0 is -1; verified tags are 0 or 1.")
    return truth


def training_targets(
    annotations: pd.DataFrame, columns: list[str], split: str = "train", target_mode: TargetMode = "any"
) -> pd.DataFrame:
    """Targets by minority vote: a tag is present if annotator 0, or without annotator 0 any annotator, labels it so.

    Parameters
    ----------
    target_mode
        `any`: as above; `verified`: only the clips that annotator 0 labelled.

    Returns
    -------
    One row per clip of the split, sorted by file name; a 0/1 column for each of `columns`.

    Raises
    ------
    InputError
        The split has no such clips.
    """
    rows = annotations[annotations["split"] == split]
    if rows.empty:
        raise InputError(f"The annotations have no clip of the split {split!r}.")
    if target_mode == "verified":
        rows = rows[rows["annotator_id"] == 0]
        if rows.empty:
            reason = f"No clip of the split {split!r} is verified (annotator_id 0)"
            raise InputError(f"{reason}, so target_mode: verified leaves none.")
    votes = (rows.set_index("audio_filename")[columns] == 1).astype(int)
    targets = votes.groupby(level=0).max().sort_index()
    verified = votes[(rows["annotator_id"] == 0).to_numpy()].groupby(level=0).max()
    targets.loc[verified.index] = verified
    return targets


def unlabelled(annotations: pd.DataFrame, clips: pd.Index, columns: list[str]) -> NDArray[np.bool_]:
    """Whether no annotator labelled a tag of a clip (all rows are -1), bool `[clips, columns]`."""
    labelled = annotations.set_index("audio_filename")[columns].ge(0).groupby(level=0).any()
    return ~labelled.loc[clips].to_numpy(bool)


def proximities(annotations: pd.DataFrame, clips: pd.Index, columns: list[str]) -> pd.DataFrame | None:
    """Proximity of the source of each fine tag, by majority of the annotators who labelled it present.

    Returns
    -------
    One row per clip: `near`, `far`, or an empty string where neither has more votes than the other and than
    `notsure`. None if the annotations have no proximity at all.
    """
    present = [column for column in columns if f"{column}_proximity" in annotations]
    if not present:
        return None
    rows = annotations[annotations["audio_filename"].isin(clips)].set_index("audio_filename")
    table = pd.DataFrame("", clips, columns)
    for column in present:
        answers = rows.loc[rows[column] == 1, f"{column}_proximity"]
        votes = pd.DataFrame({word: (answers == word).groupby(level=0).sum() for word in ("near", "far", "notsure")})
        for word in ("near", "far"):
            most = votes[word] > votes.drop(columns=word).max(axis=1)
            table.loc[votes.index[most], column] = word
    return table


def apply_splits(annotations: pd.DataFrame, path: str | os.PathLike[str]) -> pd.DataFrame:
    """Replace the splits of the annotations by those of a file, and drop the clips that it does not name.

    The file is a CSV table with the columns `split` and `audio_filename`, or `split` and `sensor_id`; or a JSON
    mapping of file names to splits.

    Raises
    ------
    InputError
        The file is malformed, or names a clip or sensor that the annotations do not have, or one twice.
    """
    key, splits = _read_splits(Path(path))
    if splits.index.has_duplicates:
        raise InputError(f"{path} names {splits.index[splits.index.duplicated()][0]} twice.")
    if unknown := sorted(set(splits.index) - set(annotations[key].astype(str))):
        raise InputError(f"{path} names {len(unknown)} that the annotations do not have: {', '.join(unknown[:5])}.")
    split = annotations[key].astype(str).map(splits)
    if left := annotations["audio_filename"][split.isna()].nunique():
        logger.info("%d clips are in no split of %s and are left out", left, path)
    return annotations.assign(split=split)[split.notna()]


def _read_splits(path: Path) -> tuple[str, pd.Series]:
    """Return the column that a split file refers to, and the split of each of its values."""
    if path.suffix.lower() == ".json":
        content = read_json(path)
        if not isinstance(content, dict):
            raise InputError(f"{path} must map file names to splits.")
        return "audio_filename", pd.Series(content, dtype=str)
    table = read_table(path, (), dtype=str)
    key = next((name for name in ("audio_filename", "sensor_id") if name in table), None)
    if key is None or "split" not in table:
        raise InputError(f"{path} needs the column split, and audio_filename or sensor_id.")
    return key, table.set_index(key)["split"]


def clip_context(annotations: pd.DataFrame, clips: pd.Index) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Place and time of each clip, as the input of the baseline of DCASE 2020 task 5.

    Returns
    -------
    Latitude and longitude in degrees, float64 `[n, 2]`; and one-hot week of the year, day of the week and hour,
    float32 `[n, 52 + 7 + 24]`.

    Raises
    ------
    InputError
        A column is missing, or a value invalid.
    """
    sizes = {"week": 52, "day": 7, "hour": 24}
    needed = ["latitude", "longitude", *sizes]
    if missing := [column for column in needed if column not in annotations]:
        raise InputError(f"The annotations lack {', '.join(missing)}, which timestamp_features needs.")
    rows = annotations.drop_duplicates("audio_filename").set_index("audio_filename").loc[clips, needed]
    rows = rows.apply(pd.to_numeric, errors="coerce")
    if (bad := rows.isna().any(axis=1)).any():
        raise InputError(f"{rows.index[bad][0]}: its place or time is not a number.")
    # The last days of a year are week 53.
    first = rows.assign(week=rows["week"].clip(upper=52) - 1)
    hot = []
    for column, size in sizes.items():
        index = first[column].to_numpy(int)
        if (wrong := (index < 0) | (index >= size)).any():
            clip = rows.index[wrong][0]
            raise InputError(f"{clip}: {column} {rows.at[clip, column]:g} is out of range.")
        hot.append(np.eye(size, dtype=np.float32)[index])
    return rows[["latitude", "longitude"]].to_numpy(np.float64), np.concatenate(hot, axis=1)


def read_sonyc_ust(root: Path) -> pd.DataFrame:
    """List the annotated clips, one per row: `filename` and `path`."""
    annotations = read_annotations(root / ANNOTATIONS, read_taxonomy(root / TAXONOMY))
    clips = find_clips(root, annotations["audio_filename"].tolist())
    return pd.DataFrame({"filename": list(clips), "path": list(clips.values())})


def find_clips(root: str | os.PathLike[str], names: list[str]) -> dict[str, Path]:
    """Find clips by file name anywhere below the data set's folder; missing ones are left out with a warning.

    Raises
    ------
    InputError
        All are missing.
    """
    found = {path.name: path for path in Path(root).rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES}
    clips = {name: found[name] for name in sorted(set(names) & found.keys())}
    if not clips:
        raise InputError(f"Not one annotated clip is below {root}; unpack the audio there.")
    for name in sorted(set(names) - clips.keys()):
        logger.warning("skipped: the annotated clip %s is not below %s", name, root)
    return clips


def sensor_ids(annotations: pd.DataFrame, names: pd.Index) -> NDArray[np.int64]:
    """Sensor of each clip, int64 `[n]`."""
    return annotations.drop_duplicates("audio_filename").set_index("audio_filename")["sensor_id"].loc[names].to_numpy()
