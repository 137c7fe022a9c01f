"""Collect a run's results into one tidy table: a row per run and metric, a column per parameter.

Parameters come from the records of the stages alone, never from the names of folders. What led to a
result is found by following the signatures of its stage's inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from l3embedding.jobs.folder import CONFIG, DONE, stage_folders
from l3embedding.jobs.journal import dotted
from l3embedding.jobs.stages import CLASSIFY, EMBED, EXPORT, REPORT, TRAIN
from l3embedding.report import paper
from l3embedding.settings import PAPER_STUDENTS, Representation, groups, kind_of
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

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
_SETTINGS = {f"{name}.{field}": info for name, group in groups().items() for field, info in group.model_fields.items()}

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Run:
    """One run of one stage; its name is its folder relative to the experiment's."""

    name: str
    folder: Path
    record: Mapping[str, Any]
    """All of `done.json`, or of `config.json` if it is unfinished."""

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
        """Whether it has ended successfully."""
        return "finished" in self.record


Find = Callable[[Run, str], Run | None]
"""Finds the run whose output an input of another run is; None for an input from outside all runs."""


@dataclass(frozen=True)
class Report:
    """An experiment's runs, unfinished ones among them, and the tidy table: a row per run and metric."""

    runs: tuple[Run, ...]
    results: pd.DataFrame
    orphans: tuple[Run, ...] = ()
    """Classifiers whose embeddings were deleted or are being recomputed; they have no rows."""

    @property
    def unfinished(self) -> list[Run]:
        """The unfinished runs, except the report's own."""
        return [run for run in self.runs if not run.finished and run.stage != REPORT]

    @property
    def skipped(self) -> list[dict[str, str]]:
        """Every recording or clip that was skipped, with the stage and the reason."""
        return [{"stage": run.stage} | entry for run in self.runs for entry in run.results.get("skipped", [])]

    @cached_property
    def datasets(self) -> dict[str, pd.DataFrame]:
        """The classifiers' rows of each downstream data set, by its name."""
        return {str(name): rows for name, rows in self.of_stage(CLASSIFY).groupby("dataset", sort=False)}

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
    find = _finder(runs)
    finished = [(run, _lineage(run, find)) for run in runs if run.finished and run.stage != REPORT]
    # The nearest: phi's embeddings were themselves made from the teacher's.
    embedded = {run: next((each.finished for each in line if each.stage == EMBED), False) for run, line in finished}
    orphans = [run for run in embedded if run.stage == CLASSIFY and not embedded[run]]
    rows = [_describe(run, line, find) for run, line in finished if run not in orphans]
    # The facts, then the parameters in the order of the settings, then the inputs that no setting names.
    found = {key for row in rows for key in row} - {*_COLUMNS}
    columns = [*_COLUMNS, *(key for key in _SETTINGS if key in found), *sorted(found - {*_SETTINGS})]
    described = pd.DataFrame(rows, columns=columns, dtype=object).drop(columns=["metric", "level", "value"])
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
    return Report(runs, described.merge(metrics, on="run")[columns], tuple(orphans))


def key_columns(table: pd.DataFrame) -> list[str]:
    """The columns that tell rows apart: all that decides a result, except the seeds."""
    return [key for key in table.columns if "." in key and (key not in _SETTINGS or kind_of(_SETTINGS[key]) != "how")]


def name_rows(table: pd.DataFrame, base: str, keys: Sequence[str]) -> list[str]:
    """Extend the names in column `base` by the parameters `keys` in which rows of one name differ.

    A value that is the default, thus the paper's, is left out as long as the names stay different. Empty names stay
    empty, and rows that are equal in all `keys` share a name.
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


def _finder(runs: Sequence[Run]) -> Find:
    # By signature, since folders may have been moved or copied. Of two runs with one signature, the finished one.
    by_signature = {run.record["signature"]: run for run in sorted(runs, key=lambda run: run.finished)}

    def find(run: Run, flag: str) -> Run | None:
        signature, within, _ = run.record["fingerprints"][flag].partition("/")
        if within and signature not in by_signature:
            path = Path(run.record["inputs"][flag])
            for place in (path, *path.resolve().parents):
                # Another experiment's output, unless it has been recomputed with other settings.
                if (place / DONE).is_file() and (record := read_json(place / DONE))["signature"] == signature:
                    by_signature[signature] = Run(str(place), place, record)
        return by_signature.get(signature)

    return find


def _lineage(run: Run, find: Find) -> list[Run]:
    """The run itself and all that led to it, the nearest first."""
    line = [run]
    # It grows while it is read.
    for each in line:
        parents = filter(None, (find(each, flag) for flag in each.record["inputs"]))
        line += [parent for parent in dict.fromkeys(parents) if parent not in line]
    return line


def _parameters(run: Run, find: Find) -> Row:
    """A run's own settings that make a difference, and its inputs from outside the runs, by dotted name."""
    recorded, inputs = dotted(run.record["parameters"]), run.record["inputs"]
    kinds = {key: kind_of(_SETTINGS[key]) if key in _SETTINGS else "decides" for key in recorded}
    own = {key: value for key, value in recorded.items() if kinds[key] != "decides" or key in run.record["signed"]}
    own |= {f"inputs.{flag}": path for flag, path in inputs.items() if path not in recorded.values()}
    # The path of a stage's output tells no more than that stage's parameters do. But a training that was continued
    # differs from one that was not, wherever the earlier one is.
    outputs = [path for flag, path in inputs.items() if find(run, flag)]
    told = {key for key, value in own.items() if value in outputs}
    return {key: value for key, value in own.items() if key not in told - {"distillation.continue_from"}}


def _describe(run: Run, line: Sequence[Run], find: Find) -> Row:
    """A run's row without its metrics; the parameters are its own and its ancestors'."""
    found: Row = {}
    for each in line:
        found = _parameters(each, find) | found
    embedded = next((each for each in line if each.stage == EMBED), None)
    # A model that 06 trained has its own size; otherwise it is the size of the model that embedded the clips.
    sized = next((each for each in (run, embedded) if each and "size_mb" in each.results), embedded)
    row = found | {
        "run": run.name,
        "stage": run.stage,
        "folder": str(run.folder.resolve()),
        "host": run.record.get("host"),
        "dataset": found.get("dataset.name", ""),
        "representation": found.get("representation", "") if embedded else "",
    }
    row |= {fact: any(each.results.get(fact) for each in line) for fact in ("is_stand_in", "synthetic")}
    row |= {key: sized.results.get(key) for key in ("embedding_size", "size_mb", "activation_mb") if sized}
    row["model"] = _model_name(row, embedded.results if embedded else {})
    return row


def _model_name(row: Row, embedded: Mapping[str, Any]) -> str:
    """The name of a row's model: the paper's name for the paper's models; empty if it has none."""
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
    if not embedded and row["stage"] not in (TRAIN, EXPORT):
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
    return f"{student}, 8 bits" if kind == "student-int8" or row["stage"] == EXPORT else student


def _metrics(record: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Level, name and value of each number among the results; nested names are joined by slashes."""
    costs = {key: record.get(key) for key in ("elapsed_s", "peak_memory_mb")}
    for path, value in _numbers(costs | record["results"]):
        group, _, metric = path.partition("/")
        level, _, part = group.partition("_")
        if group == "prior":
            # The prior is evaluated on the coarse tags only.
            yield "coarse", f"prior_{metric}", value
        elif level not in ("coarse", "fine"):
            yield "", path, value
        elif part == "interval":
            metric, _, bound = metric.rpartition("/")
            yield level, f"interval_{'low' if bound == '1' else 'high'}/{metric}", value
        else:
            yield level, metric, value


def _numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers in nested results with their paths; those of a list are counted from 1."""
    if isinstance(value, list):
        # A list of lists is a matrix, which is for a figure.
        value = {index: item for index, item in enumerate(value, 1) if not isinstance(item, (list, Mapping))}
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, f"{path}/{key}" if path else str(key))
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
