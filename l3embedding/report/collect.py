"""What a run's folder holds: each stage's record, and which came of which.

Parameters are taken from the records alone, never from the names of folders: the origin of a figure is
found by following the `inputs` of its stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from l3embedding.jobs.experiment import Experiment
from l3embedding.jobs.folder import CONFIG, DONE, stage_folders
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import read_json

_ORDER = ("teacher", "reduced", "student", "student-int8", "mfcc", "logmel-cnn")


@dataclass(frozen=True)
class Run:
    """One run of one stage, as its folder records it.

    Attributes
    ----------
    folder
        Where it lies.
    stage
        Its name.
    parameters, inputs, results
        As in `done.json`; the results of an unfinished run are empty.
    record
        All of `done.json`, or of `config.json` if it is unfinished.
    """

    folder: Path
    stage: str
    parameters: Mapping[str, Any]
    inputs: Mapping[str, str]
    results: Mapping[str, Any]
    record: Mapping[str, Any]

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return "finished" in self.record


@dataclass(frozen=True)
class Judged:
    """One classifier's results, and all the runs they came of.

    Attributes
    ----------
    run
        The run of 06.
    origin
        Stage name to run: of all that led there.
    variant
        In a sweep, the swept values that are not the paper's.
    """

    run: Run
    origin: Mapping[str, Run]
    variant: str = ""

    @property
    def representation(self) -> str:
        """What embedded the clips: a value of the experiment's `representations`."""
        return self.embedding.parameters["representation"]

    @property
    def embedding(self) -> Run:
        """The run of 05."""
        return self.origin["05-generate-embedding-samples"]

    @property
    def model(self) -> Run:
        """The run whose results say how large the model is: that of 06, if the model was trained there, or of 05."""
        return self.run if "size_mb" in self.run.results else self.embedding

    @property
    def embedding_size(self) -> int:
        """Dimension of the embedding."""
        return self.model.results["embedding_size"]

    def parameter(self, name: str) -> Any:
        """A parameter of the first stage that led there and has it; None if none has."""
        return next((run.parameters[name] for run in reversed(self.origin.values()) if name in run.parameters), None)

    def result(self, stage: str, name: str) -> Any:
        """A result of a stage that led there; None if there is none."""
        run = self.origin.get(stage)
        return run.results.get(name) if run else None


@dataclass(frozen=True)
class Report:
    """All runs of an experiment."""

    runs: tuple[Run, ...]

    def of_stage(self, stage: str) -> list[Run]:
        """The finished runs of a stage."""
        return [run for run in self.runs if run.stage == stage and run.finished]

    @cached_property
    def judged(self) -> list[Judged]:
        """Every finished classifier with its origin, the teacher's first."""
        by_folder = {run.folder.resolve(): run for run in self.runs}
        judged = [Judged(run, _origin(run, by_folder)) for run in self.of_stage("06-train-classifier")]
        # One whose embeddings were made anew is a result of what is no longer there.
        judged = [each for each in judged if "05-generate-embedding-samples" in each.origin]
        judged = [replace(each, variant=_variant(each, judged)) for each in judged]
        return sorted(judged, key=lambda each: _ORDER.index(each.representation))

    @property
    def unfinished(self) -> list[Run]:
        """The runs that did not come to their end, but for the report's own."""
        return [run for run in self.runs if not run.finished and run.stage != "07-report"]

    @property
    def skipped(self) -> list[dict[str, str]]:
        """Every recording or clip that was skipped, with the stage and the reason."""
        return [{"stage": run.stage} | entry for run in self.runs for entry in run.results.get("skipped", [])]

    @property
    def is_synthetic(self) -> bool:
        """Whether the audio was made here."""
        return any(run.results.get("synthetic") for run in self.runs)

    @property
    def caveats(self) -> list[str]:
        """Why the figures are not comparable with the paper's."""
        caveats = []
        if any(run.results.get("is_stand_in") for run in self.runs):
            caveats.append("the teacher is a STAND-IN (an untrained network)")
        if self.is_synthetic:
            caveats.append("the audio is SYNTHETIC")
        return caveats


def collect(run_dir: Path) -> Report:
    """Read the records of all stages below a run's folder.

    Raises
    ------
    InputError
        There are none.
    """
    runs = tuple(_read(folder) for folder in stage_folders(run_dir))
    if not runs:
        raise InputError(f"{run_dir} holds no stage's folder: is it the output folder of `sea run`?")
    return Report(runs)


def _variant(one: Judged, judged: list[Judged]) -> str:
    """Name the parameters in which runs of one representation differ, where they leave the paper's settings."""
    peers = [each for each in judged if each.representation == one.representation]
    # A table has other columns for these, and a seed is no setting.
    apart = ("student", "student_filters", "supervision", "random_state")
    names = [name for name in Experiment.model_fields if name not in apart]
    swept = [name for name in names if len({str(each.parameter(name)) for each in peers}) > 1]
    return ", ".join(
        f"{name}={one.parameter(name)}"
        for name in swept
        if one.parameter(name) not in (None, Experiment.model_fields[name].default)
    )


def _read(folder: Path) -> Run:
    done = folder / DONE
    record = read_json(done if done.is_file() else folder / CONFIG)
    return Run(folder, record["stage"], record["parameters"], record["inputs"], record.get("results", {}), record)


def _origin(run: Run, by_folder: Mapping[Path, Run]) -> dict[str, Run]:
    """The run itself and all that its inputs lead to, the nearest of each stage."""
    origin = {run.stage: run}
    for path in map(Path, run.inputs.values()):
        parent = _run_at(path, by_folder)
        if parent and parent.folder != run.folder:
            for stage, ancestor in _origin(parent, by_folder).items():
                origin.setdefault(stage, ancestor)
    return origin


def _run_at(path: Path, by_folder: Mapping[Path, Run]) -> Run | None:
    """The run in whose folder a path lies, also after all folders have been moved together."""
    places = (path, *path.parents)
    if there := next((by_folder[each.resolve()] for each in places if each.resolve() in by_folder), None):
        return there
    tails = {folder.parts[-depth:]: run for folder, run in by_folder.items() for depth in (2, 1)}
    # A stage's folder bears its name, or lies in one that does.
    return next(
        (
            run
            for each in places
            for depth in (2, 1)
            if (run := tails.get(each.parts[-depth:])) and run.stage in each.parts[-depth:]
        ),
        None,
    )
