"""The stages: name, what each reads and where that comes from, and the settings that decide its result.

Job, program, log and folder of a stage have the same number and name. A new stage is an entry here, a program in
`scripts/` and a job file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from l3embedding.data.datasets import DATASETS
from l3embedding.jobs import experiment
from l3embedding.settings import REPRESENTATIONS, Experiment, Representation, Settings, decides, groups, kind_of

PROGRAMS = Path(__file__).resolve().parent.parent / "scripts"

STREET = "synthesize-street"
EXTRACT = "00-extract-teacher-embeddings"
SAMPLE = "01-sample-teacher-embeddings"
REDUCE = "02-fit-reduction"
TRAIN = "03-train-approx-embedding"
EXPORT = "04-export-student"
EMBED = "05-generate-embedding-samples"
CLASSIFY = "06-train-classifier"
REPORT = "07-report"


class TaskSettings(Settings):
    """Settings in which the tasks of one stage differ within one experiment."""

    representation: Representation = decides("student", "What embeds the clips")
    seed: int = decides(0, "Seed of the classifier")


@dataclass(frozen=True)
class Wanted:
    """What a task is wanted for."""

    experiment: Experiment
    representation: Representation = "student"  # downstream only
    seed: int = 0  # downstream only


class Output(NamedTuple):
    """What another stage writes: its folder, or `path` below it; of another representation, if one is named."""

    stage: str
    path: str = ""
    representation: Representation | None = None


Source = Output | str | None
"""Where an input comes from: a stage, a path of the user's, or nowhere."""


@dataclass(frozen=True)
class Input:
    """A file or folder that a stage reads."""

    name: str  # the program's flag is `--name`, with dashes
    help: str
    output: Callable[[Wanted], Source] | None = None
    """Where it comes from, given what the task is wanted for; by default the path that the setting names."""
    required: bool = True  # whether the program needs it
    setting: str = ""
    """The setting that names it in an experiment, if there is one; the stage's record has it under this name."""

    def source(self, wanted: Wanted) -> Source:
        """Where it comes from for a task."""
        return self.output(wanted) if self.output else experiment.value_of(wanted.experiment, self.setting)


@dataclass(frozen=True)
class Stage:
    """One step of the chain."""

    name: str  # such as `03-train-approx-embedding`
    summary: str
    inputs: tuple[Input, ...]  # what it reads from disk
    settings: tuple[str, ...]  # the groups of settings that it takes, or single settings (`SECTION.FIELD`)
    ignores: frozenset[str] = frozenset()  # settings of these groups that make no difference to it
    unused: Callable[[Mapping[str, Any]], Collection[str]] = lambda arguments: ()
    """Names within `settings` that make no difference given the other arguments of a task."""
    divisible: bool = False  # whether several tasks can share its work: over sensors, or over clips
    work: Callable[[Wanted], str] = lambda wanted: ""  # how much there is to do, for people

    @property
    def number(self) -> int | None:
        """0 to 7; None for what comes before the chain."""
        return int(self.name[:2]) if self.name[:2].isdigit() else None

    @property
    def program(self) -> Path:
        """The program that does it."""
        return PROGRAMS / f"{self.name.replace('-', '_')}.py"

    @property
    def fields(self) -> tuple[str, ...]:
        """The settings that its program has flags for, dotted; paths among them are inputs instead."""
        names: list[str] = []
        for name in self.settings:
            section = groups().get(name)
            names += [f"{name}.{field}" for field in section.model_fields] if section else [name]
        return tuple(name for name in names if name not in self.ignores and kind_of(field_of(name)) != "reads")

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as its program takes them, by name; what `values` (dotted) lacks has its default."""
        given: dict[str, Any] = {}
        for name in self.fields:
            section, _, field = name.rpartition(".")
            if not section:
                given[name] = values.get(name, field_of(name).default)
                continue
            given.setdefault(section, {})
            if name in values:
                given[section][field] = values[name]
        classes = groups()
        return {name: classes[name](**value) if name in classes else value for name, value in given.items()}

    def signed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that decide the result, dotted, out of what `arguments` returns."""
        sections = {name: arguments[name] for name in arguments if name in groups()}
        signed = {f"{name}.{field}" for name, section in sections.items() for field in section.signed()}
        return {name: value for name, value in self._used(arguments).items() if "." not in name or name in signed}

    def parameters(self, arguments: Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, Any]:
        """The settings as the stage's record has them, by section: what makes a difference to it, and its paths."""
        read = [each for each in self.inputs if each.setting and each.name in inputs]
        paths = {each.setting: os.path.abspath(inputs[each.name]) for each in read}
        return experiment.nest(paths | self._used(arguments))

    def _used(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that make a difference, dotted."""
        unused = set(self.unused(arguments))
        names = [name for name in self.fields if not unused & {name, name.partition(".")[0]}]
        return {name: argument_of(arguments, name) for name in names}


def argument_of(arguments: Mapping[str, Any], name: str) -> Any:
    """The value of a setting, `SECTION.FIELD` or `FIELD`, out of what `Stage.arguments` returns."""
    section, _, field = name.rpartition(".")
    return getattr(arguments[section], field) if section else arguments[field]


def field_of(name: str) -> FieldInfo:
    """The declaration of a setting, `SECTION.FIELD` or `FIELD`, or of one of `TaskSettings`."""
    return TaskSettings.model_fields.get(name) or experiment.field_of(name)


def _recordings(wanted: Wanted) -> Source:
    of = wanted.experiment
    return Output(STREET, "upstream") if of.street.synthetic else of.recordings.root


def _dataset(wanted: Wanted) -> Source:
    of = wanted.experiment
    return Output(STREET, "sonyc_ust") if of.street.synthetic else of.dataset.root


def _reduced(wanted: Wanted) -> Source:
    return None if wanted.experiment.reduction.mode == "mse" else Output(REDUCE)


def _derived_from(name: str) -> Callable[[Wanted], Source]:
    """An input of stage 05, as `REPRESENTATIONS` declares it."""

    def source(wanted: Wanted) -> Source:
        declared = REPRESENTATIONS[wanted.representation].inputs.get(name)
        if declared is None:
            return None
        stage, colon, representation = declared.partition(":")
        stage, _, path = stage.partition("/")
        return Output(stage, path, representation if colon else None)  # type: ignore[arg-type]

    return source


def _unused_to_embed(arguments: Mapping[str, Any]) -> Collection[str]:
    used = {name.partition(".")[0] for name in REPRESENTATIONS[arguments["representation"]].settings}
    return {"teacher", "reduction", "student", "random_state"} - used


def _unused_to_classify(arguments: Mapping[str, Any]) -> Collection[str]:
    if not DATASETS[arguments["dataset"].name].has_folds:
        return ("folds", "cnn", "student")
    if arguments["representation"] != "logmel-cnn":
        return ("classifier", "cnn", "student", "dataset.evaluate_split")
    # Its classifier of the teacher's embeddings gives the soft labels.
    by_soft_labels = arguments["cnn"].supervision in ("soft_labels", "both")
    return ("classifier", "dataset.evaluate_split", *(() if by_soft_labels else ("folds",)))


def _fine_tuned(wanted: Wanted) -> Source:
    return Output(TRAIN) if wanted.experiment.classifier.fine_tune else None


def _teacher_of_cnn(wanted: Wanted) -> Source:
    is_taught = wanted.representation == "logmel-cnn" and wanted.experiment.cnn.supervision != "labels"
    return Output(EMBED, representation="teacher") if is_taught else None


def _epochs(wanted: Wanted) -> str:
    of = wanted.experiment.distillation
    return f"up to {of.epochs} epochs of up to {of.train_epoch_size} batches of {of.batch_size}"


def _classification(wanted: Wanted) -> str:
    of = wanted.experiment
    if not DATASETS[of.dataset.name].has_folds:
        return f"up to {of.classifier.epochs} epochs"
    is_cnn = wanted.representation == "logmel-cnn"
    return f"{of.cnn.epochs} epochs per fold" if is_cnn else f"{of.folds.classifier}, per fold"


_UPSTREAM_SHARDS = Input(
    "audio_dir", "folder of 00: upstream shards in train/ and validate/", lambda wanted: Output(EXTRACT)
)

_DATASET = Input("dataset_root", "folder of the downstream data set", _dataset, setting="dataset.root")

_STAGES = (
    Stage(
        STREET,
        "synthesise a small street: recordings of its sensors, and annotated clips",
        inputs=(),
        settings=("street", "random_state"),
        ignores=frozenset({"street.synthetic"}),
    ),
    Stage(
        EXTRACT,
        "cut the recordings into frames, and store each with its teacher embedding and its level",
        inputs=(
            Input(
                "audio_root",
                "recordings: SENSOR/*.wav, recordings.csv, or the layout of ESC-50",
                _recordings,
                setting="recordings.root",
            ),
            Input("spl_root", "measured levels: SENSOR.csv or SENSOR.h5", required=False, setting="recordings.levels"),
        ),
        settings=("recordings", "teacher", "random_state"),
        ignores=frozenset({"recordings.time_zone"}),
        divisible=True,
        work=lambda wanted: f"a frame every {wanted.experiment.recordings.hop_size:g} s",
    ),
    Stage(
        SAMPLE,
        "draw the sample of teacher embeddings that the reduction is fitted on",
        inputs=(_UPSTREAM_SHARDS,),
        settings=("sample", "recordings.time_zone", "random_state"),
        divisible=True,
        work=lambda wanted: f"{wanted.experiment.sample.size} embeddings",
    ),
    Stage(
        REDUCE,
        "fit phi on the sample, and apply it to every upstream shard",
        inputs=(_UPSTREAM_SHARDS, Input("sample_dir", "folder of 01: the sample", lambda _: Output(SAMPLE))),
        settings=("reduction", "student.dim", "random_state"),
        work=lambda wanted: f"{wanted.experiment.reduction.mode} to {wanted.experiment.student.dim} dimensions",
    ),
    Stage(
        TRAIN,
        "train the student to produce phi(teacher(x)) from x",
        inputs=(
            _UPSTREAM_SHARDS,
            Input("embedding_dir", "reduced shards, in train/ and validate/; not for mse", _reduced, required=False),
            Input(
                "continue_from",
                "folder of an earlier 03, whose training is continued here",
                required=False,
                setting="distillation.continue_from",
            ),
        ),
        settings=("student", "distillation", "reduction.mode", "teacher.weights_dirs", "random_state"),
        work=_epochs,
    ),
    Stage(
        EXPORT,
        "quantise the student to 8 bits, and measure whether it fits the board",
        inputs=(Input("student_dir", "folder of 03: the student", lambda _: Output(TRAIN)), _UPSTREAM_SHARDS),
        settings=("board", "random_state"),
    ),
    Stage(
        EMBED,
        "embed the clips of the downstream data set",
        inputs=(
            _DATASET,
            Input("model", "the student: folder, .keras or .tflite file", _derived_from("model"), required=False),
            Input("features", "folder of 05: the teacher's embeddings", _derived_from("features"), required=False),
            Input("phi", "the reduction, as 02 saved it", _derived_from("phi"), required=False),
        ),
        settings=(
            "representation",
            "dataset",
            "reduction.allow_pickle",
            "teacher",
            *REPRESENTATIONS["logmel-cnn"].settings,
            "random_state",
        ),
        ignores=frozenset({"dataset.evaluate_split"}),
        unused=_unused_to_embed,
        divisible=True,
        work=lambda wanted: f"a frame every {wanted.experiment.dataset.hop_size:g} s",
    ),
    Stage(
        CLASSIFY,
        "train a classifier on the embeddings, and evaluate it",
        inputs=(
            _DATASET,
            Input(
                "features",
                "folder of 05: one embedding file per clip",
                lambda wanted: Output(EMBED, representation=wanted.representation),
            ),
            Input(
                "split_path",
                "CSV or JSON that replaces the splits of the annotations",
                required=False,
                setting="dataset.split_path",
            ),
            Input("student_dir", "folder of 03: the student to fine-tune", _fine_tuned, required=False),
            Input("teacher_features", "folder of 05: the teacher's embeddings", _teacher_of_cnn, required=False),
        ),
        settings=("dataset", "representation", "classifier", "folds", "cnn", "student", "seed"),
        work=_classification,
        unused=_unused_to_classify,
    ),
    Stage(
        REPORT,
        "write the paper's tables beside ours, with figures, on one page",
        inputs=(Input("run_dir", "output folder of the experiment", lambda _: None),),
        settings=("report", "random_state"),
    ),
)

STAGES = {stage.name: stage for stage in _STAGES}
