"""The chain of an experiment: its tasks, in an order in which each finds what it reads.

A stage that a sweep touches becomes several tasks, one for each combination of the swept values
that can reach it; what they share runs once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from l3embedding.jobs.experiment import WITHOUT_UPSTREAM, Experiment, Sweep
from l3embedding.jobs.stages import CNN_PARAMETERS, STAGES, Stage, parameter_field, parameters_of


@dataclass(frozen=True)
class Task:
    """One run of one stage.

    Attributes
    ----------
    stage
        What is done.
    folder
        Where its output goes.
    inputs
        Flag name to path.
    parameters
        Parameter name to value: all that decides the result, beside the inputs.
    parents
        The tasks that write the inputs.
    label
        What tells it from the other tasks of its stage: the swept values that can reach it.
    """

    stage: Stage
    folder: Path
    inputs: Mapping[str, Path]
    parameters: Mapping[str, Any]
    parents: tuple[Task, ...] = field(default=(), repr=False)
    label: str = ""

    @property
    def name(self) -> str:
        """Stage and label."""
        return f"{self.stage.name} {self.label}".rstrip()

    def command(self) -> list[str]:
        """The command line that does it; a person may type it as well."""
        return [sys.executable, str(self.stage.program), *self.arguments()]

    def arguments(self) -> list[str]:
        """The flags of its program."""
        words = ["--output-dir", str(self.folder)]
        for name, path in self.inputs.items():
            words += [_flag(name), str(path)]
        for name, value in self.parameters.items():
            words += _flag_words(name, value)
        return words


def build_chain(sweep: Sweep, output_dir: Path) -> list[Task]:
    """List the tasks of an experiment, parents first.

    Parameters
    ----------
    sweep
        As `l3embedding.jobs.experiment.read_experiment` returns it.
    output_dir
        Folder of the run; every task writes to a folder of its own below it.
    """
    builder = _Builder(sweep.axes, output_dir)
    for experiment in sweep.experiments:
        builder.add_experiment(experiment)
    builder.add_report()
    return list(builder.tasks.values())


class _Upstream(NamedTuple):
    """The upstream tasks whose results are judged."""

    reduction: Task | None
    train: Task
    export: Task


class _Builder:
    """Collects tasks; one that is already there is shared."""

    def __init__(self, axes: tuple[str, ...], output_dir: Path) -> None:
        self.axes = axes
        self.output_dir = output_dir
        self.tasks: dict[Path, Task] = {}

    def add_experiment(self, experiment: Experiment) -> None:
        """Add the tasks of one combination of swept values."""
        audio_root, dataset_root, street = self._roots(experiment)
        upstream = None if audio_root is None else self._add_upstream(experiment, audio_root, street)
        for representation in experiment.representations:
            embed = self._add_embedding(representation, experiment, dataset_root, street, upstream)
            self._add_classifiers(representation, experiment, dataset_root, (*street, embed), upstream)

    def _add_upstream(self, experiment: Experiment, audio_root: Path, street: tuple[Task, ...]) -> _Upstream:
        """Add 00 to 04."""
        recordings = {"audio_root": audio_root}
        if experiment.spl_root is not None:
            recordings["spl_root"] = Path(experiment.spl_root)
        extract = self._add("00-extract-teacher-embeddings", experiment, recordings, street)
        audio_dir = {"audio_dir": extract.folder}
        learned, reduction = dict(audio_dir), None
        if experiment.approx_mode != "mse":
            sample = self._add("01-sample-teacher-embeddings", experiment, audio_dir, (extract,))
            inputs = audio_dir | {"sample_dir": sample.folder}
            reduction = self._add("02-fit-reduction", experiment, inputs, (extract, sample))
            learned["embedding_dir"] = reduction.folder
        if experiment.continue_from is not None:
            learned["continue_from"] = Path(experiment.continue_from)
        parents = (extract, reduction) if reduction else (extract,)
        train = self._add("03-train-approx-embedding", experiment, learned, parents)
        export = self._add("04-export-student", experiment, {"student_dir": train.folder} | audio_dir, (extract, train))
        return _Upstream(reduction, train, export)

    def _add_classifiers(
        self,
        representation: str,
        experiment: Experiment,
        dataset_root: Path,
        parents: tuple[Task, ...],
        upstream: _Upstream | None,
    ) -> None:
        """Add a classifier of each seed on the embeddings, which the last of `parents` makes."""
        inputs = {"dataset_root": dataset_root, "features": parents[-1].folder}
        if experiment.split_path is not None:
            inputs["split_path"] = Path(experiment.split_path)
        if experiment.fine_tune:
            assert upstream  # the experiment was validated
            inputs["student_dir"] = upstream.train.folder
            parents = (*parents, upstream.train)
        if representation == "logmel-cnn" and experiment.supervision != "labels":
            teacher = self._add_embedding("teacher", experiment, dataset_root, parents[:-1], upstream)
            inputs["teacher_features"] = teacher.folder
            parents = (*parents, teacher)
        idle = _idle(representation, experiment)
        for seed in experiment.classifier_seeds:
            one_of_several = f",seed={seed}" if len(experiment.classifier_seeds) > 1 else ""
            label = representation + one_of_several
            own = {"own_label": label, "representation": representation, "seed": seed}
            self._add("06-train-classifier", experiment, inputs, parents, idle=idle, **own)

    def add_report(self) -> None:
        """Add the report on all tasks so far."""
        stage = STAGES["07-report"]
        folder = self.output_dir / stage.name
        self.tasks[folder] = Task(stage, folder, {"run_dir": self.output_dir}, {}, tuple(self.tasks.values()))

    def _roots(self, experiment: Experiment) -> tuple[Path | None, Path, tuple[Task, ...]]:
        if not experiment.synthetic_street:
            assert experiment.dataset_root  # the experiment was validated
            audio_root = None if experiment.audio_root is None else Path(experiment.audio_root)
            return audio_root, Path(experiment.dataset_root), ()
        street = self._add("synthesize-street", experiment, {}, ())
        return street.folder / "upstream", street.folder / "sonyc_ust", (street,)

    def _add_embedding(
        self,
        representation: str,
        experiment: Experiment,
        dataset_root: Path,
        street: tuple[Task, ...],
        upstream: _Upstream | None,
    ) -> Task:
        stage = "05-generate-embedding-samples"
        inputs = {"dataset_root": dataset_root}
        if representation in WITHOUT_UPSTREAM:
            parents = street
        elif representation == "reduced":
            assert upstream and upstream.reduction  # the experiment was validated
            teacher = self._add_embedding("teacher", experiment, dataset_root, street, upstream)
            inputs |= {"features": teacher.folder, "phi": upstream.reduction.folder / "phi.h5"}
            parents = (*street, teacher, upstream.reduction)
        else:
            assert upstream
            model = upstream.export if representation == "student-int8" else upstream.train
            inputs |= {"model": model.folder}
            parents = (*street, model)
        return self._add(stage, experiment, inputs, parents, own_label=representation, representation=representation)

    def _add(
        self,
        stage_name: str,
        experiment: Experiment,
        inputs: Mapping[str, Path],
        parents: tuple[Task, ...],
        own_label: str = "",
        idle: tuple[str, ...] = (),
        **task_parameters: Any,
    ) -> Task:
        """Add a task, unless it is there; `idle` are parameters of its stage that are of no account to it."""
        stage = STAGES[stage_name]
        own = set(self.axes) & set(stage.parameters).difference(idle)
        reached = own.union(*(self._axes_reaching(parent) for parent in parents))
        swept = ",".join(f"{axis}={_word(getattr(experiment, axis))}" for axis in self.axes if axis in reached)
        label = " ".join(filter(None, (own_label, swept)))
        folder = self.output_dir / stage.name / label.replace(" ", ",")
        if folder not in self.tasks:
            parameters = parameters_of(stage, experiment, **task_parameters)
            parameters |= {name: parameter_field(name).default for name in idle}
            self.tasks[folder] = Task(stage, folder, dict(inputs), parameters, parents, label)
        return self.tasks[folder]

    def _axes_reaching(self, task: Task) -> set[str]:
        reached = set(self.axes) & set(task.stage.parameters)
        return reached.union(*(self._axes_reaching(parent) for parent in task.parents))


def _idle(representation: str, experiment: Experiment) -> tuple[str, ...]:
    """The parameters of 06 that are of no account to a representation."""
    if representation != "logmel-cnn":
        return CNN_PARAMETERS
    return {"labels": ("temperature", "teacher_weight"), "embedding": ("temperature",)}.get(experiment.supervision, ())


def _word(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value).replace("/", "_")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _flag_words(name: str, value: Any) -> list[str]:
    if value is None or value == ():
        return []
    if isinstance(value, bool):
        return [_flag(name)] if value else [f"--no-{_flag(name)[2:]}"]
    if isinstance(value, tuple):
        return [_flag(name), *map(str, value)]
    return [_flag(name), value if isinstance(value, str) else json.dumps(value)]
