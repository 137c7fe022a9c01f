"""Collect a run's results into one tidy table: a row per run and metric, a column per parameter.

Parameters come from the records of the stages alone, never from the names of folders. What led to a
result is found by following the `inputs` of its stage.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from l3embedding.jobs.folder import CONFIG, DONE, stage_folders
from l3embedding.jobs.journal import dotted
from l3embedding.report import paper
from l3embedding.settings import PAPER_STUDENTS, Representation, groups, kind_of
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

EMBED = "05-generate-embedding-samples"
CLASSIFY = "06-train-classifier"
POOLED = ["seed", "random_state"]
"""The only columns over which a cell of a table takes the mean."""

SUPERVISION: dict[str, str] = {
    "labels": "from labels alone",
    "embedding": "taught by embeddings",
    "soft_labels": "taught by softened labels",
    "both": "taught by embeddings and softened labels",
}
_ORDER = get_args(Representation)
_COLUMNS = (
    "run", "stage", "folder", "host", "dataset", "representation", "model", "seed", "random_state", "metric", "level",
    "value", "embedding_size", "size_mb", "activation_mb", "is_stand_in", "synthetic",
)  # fmt: skip
_GROUPS = groups()
_SETTINGS = {f"{name}.{field}": info for name, group in _GROUPS.items() for field, info in group.model_fields.items()}
_ROOTS = {
    "audio_root": "recordings.root",
    "spl_root": "recordings.levels",
    "dataset_root": "dataset.root",
    "split_path": "dataset.split_path",
    "continue_from": "distillation.continue_from",
}
"""Flag of an input to the setting that names it."""

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Run:
    """One run of one stage.

    Attributes
    ----------
    name
        Its folder relative to the experiment's.
    folder
        Its folder.
    record
        All of `done.json`, or of `config.json` if it is unfinished.
    """

    name: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Name of the stage."""
        return self.record["stage"]

    @property
    def results(self) -> Mapping[str, Any]:
        """As in `done.json`; empty if the run is unfinished."""
        return self.record.get("results", {})

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return "finished" in self.record


@dataclass(frozen=True)
class Report:
    """An experiment's runs and results.

    Attributes
    ----------
    runs
        All of them, also the unfinished ones.
    results
        The tidy table: a row per run and metric.
    orphans
        Classifiers whose embeddings were deleted or are being made anew; they have no rows.
    """

    runs: tuple[Run, ...]
    results: pd.DataFrame
    orphans: tuple[Run, ...] = ()

    @property
    def unfinished(self) -> list[Run]:
        """The runs that did not come to their end, but for the report's own."""
        return [run for run in self.runs if not run.finished and run.stage != "07-report"]

    @property
    def skipped(self) -> list[dict[str, str]]:
        """Every recording or clip that was skipped, with the stage and the reason."""
        return [{"stage": run.stage} | entry for run in self.runs for entry in run.results.get("skipped", [])]

    @cached_property
    def datasets(self) -> dict[str, pd.DataFrame]:
        """The classifiers' rows of each downstream data set, by its name."""
        evaluated = self.results[self.results["stage"] == CLASSIFY]
        return {str(name): rows for name, rows in evaluated.groupby("dataset", sort=False)}

    def of_stage(self, stage: str) -> pd.DataFrame:
        """The rows of a stage."""
        return self.results[self.results["stage"] == stage]


def collect(run_dir: Path) -> Report:
    """Read the records of all stages below a run's folder.

    Raises
    ------
    InputError
        There are none.
    """
    records = ((folder, DONE if (folder / DONE).is_file() else CONFIG) for folder in stage_folders(run_dir))
    runs = tuple(Run(path.relative_to(run_dir).as_posix(), path, read_json(path / record)) for path, record in records)
    if not runs:
        raise InputError(f"{run_dir} holds no stage's folder: is it the output folder of `sea run`?")
    lineage = _Lineage(runs)
    finished = [(run, lineage.of(run)) for run in runs if run.finished and run.stage != "07-report"]
    # Of several, as phi's have the teacher's too, the nearest are those that were evaluated.
    embedded = {run: next((each.finished for each in line if each.stage == EMBED), False) for run, line in finished}
    orphans = [run for run in embedded if run.stage == CLASSIFY and not embedded[run]]
    rows = [_describe(run, line, lineage) for run, line in finished if run not in orphans]
    described = pd.DataFrame(rows, columns=_columns(rows), dtype=object)
    described = described.drop(columns=["metric", "level", "value"])
    keys = key_columns(described)
    # Scores on another split, or on another synthetic street, are not comparable, so they are another data set.
    of_dataset = [key for key in keys if key.startswith(("dataset.", "street.")) and key != "dataset.hop_size"]
    # By stage, since 05 has no split.
    for _, same in described.groupby("stage", sort=False):
        described.loc[same.index, "dataset"] = name_rows(same, "dataset", of_dataset)
    for _, same in described.groupby(["stage", "dataset"], sort=False):
        described.loc[same.index, "model"] = name_rows(same, "model", keys)
    # The teacher's first; otherwise as the folders' names are sorted.
    order = described["representation"].map(lambda each: _ORDER.index(each) if each in _ORDER else -1)
    described = described.iloc[order.argsort(kind="stable")]
    measured = [(run.name, *metric) for run, _ in finished for metric in _metrics(run.record)]
    metrics = pd.DataFrame(measured, columns=["run", "level", "metric", "value"])
    return Report(runs, described.merge(metrics, on="run")[_columns(rows)], tuple(orphans))


def key_columns(table: pd.DataFrame) -> list[str]:
    """The columns that tell rows apart: all that decides a result, but for the seeds."""
    return [key for key in table.columns if "." in key and (key not in _SETTINGS or kind_of(_SETTINGS[key]) != "how")]


def name_rows(table: pd.DataFrame, base: str, keys: Sequence[str]) -> list[str]:
    """Extend the names in a column by the parameters in which rows of one name differ.

    A value that is the default, thus the paper's, is left out as long as the names stay different.

    Parameters
    ----------
    table
        Rows with a column `base`, and a column for each of `keys`.
    base
        The column with the names; empty ones stay empty.
    keys
        The columns that tell rows apart. Rows that are equal in all of them share a name.
    """
    names = table[base].copy()
    for name, same in table[table[base] != ""].groupby(base, sort=False):
        texts = same[list(keys)].map(_text)
        texts = texts[[key for key in texts if texts[key].nunique() > 1]]
        for key in texts:
            last = texts[key].map(lambda text: Path(text).name)
            # Of paths, the last part is enough if it differs.
            texts[key] = last if last.nunique() == texts[key].nunique() else texts[key]
        for usual in (_usual, lambda key, text: False):
            extended = [
                ", ".join([str(name), *(f"{key}={text}" for key, text in row.items() if not usual(str(key), text))])
                for row in texts.to_dict("records")
            ]
            names[same.index] = extended
            if len(set(extended)) == len(texts.drop_duplicates()):
                break
    return names.tolist()


def of_metric(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric; of tags, the coarse ones."""
    return rows[(rows["metric"] == metric) & (rows["level"] != "fine")]


def main_metric(rows: pd.DataFrame) -> str:
    """The metric by which a data set's classifiers are compared."""
    return "accuracy" if (rows["metric"] == "accuracy").any() else "micro_auprc"


def chance_level(rows: pd.DataFrame) -> float:
    """The main metric's chance level: of the class frequencies for micro-AUPRC, of one class for accuracy."""
    return float(of_metric(rows, "chance" if main_metric(rows) == "accuracy" else "prior_micro_auprc")["value"].mean())


def caveats(rows: pd.DataFrame) -> list[str]:
    """Why results are not comparable with the paper's."""
    reasons = {"is_stand_in": "the teacher is a STAND-IN (an untrained network)", "synthetic": "the audio is SYNTHETIC"}
    return [reason for column, reason in reasons.items() if rows[column].any()]


class _Lineage:
    """Finds the runs that led to a run."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._by_folder = {run.folder.resolve(): run for run in runs}
        self._by_signature = {run.record.get("signature"): run for run in runs}
        self._by_name = {Path(run.name).parts: run for run in runs}
        self._parents: dict[str, Run | None] = {}

    def of(self, run: Run) -> list[Run]:
        """The run itself and all that led to it, the nearest first."""
        line, waiting = [run], deque([run])
        while waiting:
            for path in waiting.popleft().record["inputs"].values():
                parent = self.parent(path)
                if parent is not None and parent not in line:
                    line.append(parent)
                    waiting.append(parent)
        return line

    def parent(self, path: str) -> Run | None:
        """The run in whose folder a path lies; None if it is no output of a stage."""
        if path not in self._parents:
            self._parents[path] = self._find(Path(path))
        return self._parents[path]

    def _find(self, path: Path) -> Run | None:
        for place in (path, *path.parents):
            if run := self._by_folder.get(place.resolve()):
                return run
            if (place / DONE).is_file() and (place / CONFIG).is_file():
                # Another experiment's output, or ours before the folders were copied.
                elsewhere = Run(str(place), place, read_json(place / DONE))
                found = self._by_signature.get(elsewhere.record["signature"], elsewhere)
                return self._by_folder.setdefault(place.resolve(), found)
        if path.exists():
            return None
        # All folders have been moved together, and the path still names their old place.
        parts = path.parts
        spans = ((start, end) for start in range(len(parts)) for end in range(len(parts), start, -1))
        return next((run for start, end in spans if (run := self._by_name.get(parts[start:end]))), None)


def _describe(run: Run, line: Sequence[Run], lineage: _Lineage) -> Row:
    """All that is known of a run but its metrics; the parameters are its own and its ancestors'."""
    found: Row = {}
    for each in line:
        # Paths are taken from the inputs, since only those within no stage's folder tell runs apart.
        own = {key: value for key, value in dotted(each.record["parameters"]).items() if key not in _ROOTS.values()}
        for flag, path in each.record["inputs"].items():
            # A training that was continued differs from one that was not, wherever the earlier one lies.
            if lineage.parent(path) is None or flag == "continue_from":
                own[_ROOTS.get(flag, f"inputs.{flag}")] = path
        found = own | found
    embedded = next((each for each in line if each.stage == EMBED), None)
    # The size is that of a model which 06 trained, else of the one that embedded the clips.
    sized = next((each for each in (run, embedded) if each and "size_mb" in each.results), embedded)
    sizes = {key: sized.results.get(key) for key in ("embedding_size", "size_mb", "activation_mb")} if sized else {}
    facts = {
        "run": run.name,
        "stage": run.stage,
        "folder": str(run.folder.resolve()),
        "host": run.record.get("host"),
        "dataset": found.get("dataset.name", ""),
        "representation": found.pop("representation", "") if embedded else "",
        "is_stand_in": any(bool(each.results.get("is_stand_in")) for each in line),
        "synthetic": any(bool(each.results.get("synthetic")) for each in line),
    }
    row = facts | sizes | {key: value for key, value in found.items() if _counts(key, found)}
    row["model"] = _model_name(row, dict(embedded.results) if embedded else {})
    return row


def _counts(key: str, parameters: Row) -> bool:
    """Whether a parameter makes a difference, given the others of its group."""
    group, _, field = key.partition(".")
    given = {name.partition(".")[2]: value for name, value in parameters.items() if name.startswith(f"{group}.")}
    # Not validated: a record may hold a part of the group only, or be older than a rule.
    return key not in _SETTINGS or _GROUPS[group].model_construct(**given).counts(field)


def _model_name(row: Row, embedded: Mapping[str, Any]) -> str:
    """The name of a row's model: the paper's where it is the paper's model; empty if it has none."""
    kind = row["representation"]
    if kind == "teacher":
        official = str(row.get("teacher.name")).startswith("openl3_audio_mel256_env")
        if embedded.get("is_stand_in") or not official or row.get("teacher.embedding_size") not in (None, 512):
            return f"teacher ({'stand-in' if embedded.get('is_stand_in') else embedded['model_name']})"
        return paper.TEACHER
    if kind == "reduced":
        return f"phi(teacher), {row['embedding_size']}-d"
    if kind == "mfcc":
        return str(embedded["model_name"])
    if not embedded and row["stage"] not in ("03-train-approx-embedding", "04-export-student"):
        return ""
    if "student.dim" not in row:
        # A student from elsewhere, without a record of its training.
        return f"{kind or 'student'} ({embedded.get('model_name', 'from elsewhere')})"
    dim, filters = row["student.dim"], row.get("student.filters")
    of_paper = filters is None or tuple(filters) == PAPER_STUDENTS.get(dim)
    papers = {model.embedding_size: name for name, model in paper.MODELS.items() if name != paper.TEACHER}
    student = papers[dim] if of_paper and dim in papers else f"Student {_text(filters or dim)}"
    if kind == "logmel-cnn":
        return f"log-mel CNN of {student}'s size, {SUPERVISION[row['cnn.supervision']]}"
    is_small = kind == "student-int8" or row["stage"] == "04-export-student"
    return f"{student}, 8 bits" if is_small else student


def _columns(rows: Sequence[Row]) -> list[str]:
    """The facts, then the parameters in the order of the settings, then what other inputs are called."""
    found = {key for row in rows for key in row}
    return [*_COLUMNS, *(key for key in _SETTINGS if key in found), *sorted(found - {*_SETTINGS, *_COLUMNS})]


def _metrics(record: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Level, name and value of each number among the results; what is nested in them is joined by a slash."""
    for key in ("elapsed_s", "peak_memory_mb"):
        yield from (("", path, value) for path, value in _numbers(record.get(key), key))
    for key, value in record["results"].items():
        level, _, part = key.partition("_")
        if key == "prior":
            # The prior is evaluated on the coarse tags only.
            yield from (("coarse", f"prior_{path}", number) for path, number in _numbers(value))
        elif level not in ("coarse", "fine"):
            yield from (("", path, number) for path, number in _numbers(value, key))
        elif part == "interval":
            for path, number in _numbers(value):
                metric, _, bound = path.rpartition("/")
                yield level, f"interval_{'low' if bound == '1' else 'high'}/{metric}", number
        else:
            yield from ((level, path, number) for path, number in _numbers(value))


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers in nested results with their paths; those of a list are counted from 1."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}/{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value, 1):
            # A list of lists is a matrix, which is for a figure.
            if not isinstance(item, (list, Mapping)):
                yield from _numbers(item, f"{path}/{index}")
    elif isinstance(value, (int, float)) and math.isfinite(value):
        yield path, float(value)


def _text(value: Any) -> str:
    """A value in a name; what is unset or does not count is a dash."""
    if value is None or value != value:
        return "-"
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _usual(key: str, text: str) -> bool:
    """Whether a value needs no mention: it is the default, or there is none."""
    return text == "-" or (key in _SETTINGS and text == _text(_SETTINGS[key].default))
