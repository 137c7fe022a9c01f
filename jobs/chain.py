"""The chain of an experiment: the tasks that its results need, parents first.

It is built backwards from what is wanted, so that nothing runs which nothing needs: evaluating `reduced` alone
trains no student. Two tasks are one where the same settings and inputs decide their results, whatever experiments
of a sweep they are wanted for; a task's folder is labelled with the swept values that all of these share.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from l3embedding.jobs.experiment import Sweep, value_of
from l3embedding.jobs.folder import StageFolder
from l3embedding.jobs.stages import (
    CLASSIFY,
    EMBED,
    EXPORT,
    REPORT,
    STAGES,
    Output,
    Stage,
    TaskSettings,
    Wanted,
    argument_of,
    field_of,
)
from l3embedding.settings import Experiment
from l3embedding.utils.errors import InputError

_OWN = tuple(TaskSettings.model_fields)

_UNSAFE = re.compile(r"[^\w.+=-]")
"""What has no place in a folder's name."""
_MAX_LABEL = 120
"""File systems allow 255 bytes per name; the rest is for suffixes."""


@dataclass(frozen=True)
class Task:
    """One run of one stage."""

    stage: Stage  # what is done
    folder: Path  # where its output goes
    inputs: Mapping[str, Path]  # flag name to path
    arguments: Mapping[str, Any]  # the settings that its program takes, by name
    parents: tuple[Task, ...] = field(default=(), repr=False)  # the tasks that write the inputs
    label: str = ""  # what tells it from the other tasks of its stage
    work: str = ""  # how much there is to do, for people

    @property
    def name(self) -> str:
        """Stage and label."""
        return f"{self.stage.name} {self.label}".rstrip()

    @property
    def file_name(self) -> str:
        """Its name as that of its files: log and job script."""
        return self.name.replace(" ", ",")

    @property
    def stage_folder(self) -> StageFolder:
        """Its folder, with what decides what is in it."""
        stage, arguments = self.stage, self.arguments
        parameters = stage.parameters(arguments, self.inputs)
        return StageFolder(stage.name, self.folder, stage.signed(arguments), self.inputs, parameters)

    @property
    def missing(self) -> list[str]:
        """The paths of the user's that it reads and that do not exist, each in a sentence with its setting."""
        settings = {each.name: each.setting or each.name for each in self.stage.inputs}
        return [
            f"{settings[name]}: {path} does not exist."
            for name, path in self.inputs.items()
            if not any(path.is_relative_to(parent.folder) for parent in self.parents)
            and not path.exists()
            and self.stage.name != REPORT
        ]

    def command(self) -> list[str]:
        """The command line that runs it; a person may type it as well."""
        return [sys.executable, str(self.stage.program), *self.flags()]

    def flags(self) -> list[str]:
        """The flags of its program; a setting that has its default needs none."""
        words = ["--output-dir", str(self.folder)]
        for name, path in self.inputs.items():
            words += [flag(name), str(path)]
        for name in self.stage.fields:
            value = argument_of(self.arguments, name)
            if value != field_of(name).default or name in _OWN:
                words += _flag_words(name, value)
        return words


def require_inputs(tasks: Iterable[Task]) -> None:
    """Raise an `InputError` that names every path of the user's that tasks read and that does not exist."""
    if missing := dict.fromkeys(sentence for task in tasks for sentence in task.missing):
        raise InputError("\n".join(missing))


def build_chain(sweep: Sweep, output_dir: Path) -> list[Task]:
    """List the tasks of an experiment.

    Parameters
    ----------
    sweep
        As `l3embedding.jobs.experiment.read_experiment` returns it.
    output_dir
        Folder of the run; every task writes to a folder of its own below it.
    """
    chain = _Chain()
    for experiment in sweep.experiments:
        for stage_name, wanted in _goals(experiment):
            chain.need(stage_name, wanted)
    nodes = sorted(chain.nodes.values(), key=lambda node: node.stage.number or 0)
    tasks = _as_tasks(nodes, sweep, output_dir)
    stage, first = STAGES[REPORT], sweep.experiments[0]
    arguments = stage.arguments({name: value_of(first, name) for name in stage.fields})
    tasks.append(Task(stage, output_dir / REPORT, {"run_dir": output_dir}, arguments, tuple(tasks)))
    return tasks


def _goals(experiment: Experiment) -> list[tuple[str, Wanted]]:
    """What an experiment is run for: classifiers, and the students as a board takes them."""
    goals = [
        (CLASSIFY, Wanted(experiment, representation, seed))
        for representation in experiment.representations
        for seed in experiment.seeds
    ]
    return [*goals, (EXPORT, Wanted(experiment))] if experiment.trains_student else goals


@dataclass
class _Node:
    """A task before it has a folder: `experiments` grows while the chain is built."""

    stage: Stage
    wanted: Wanted
    arguments: Mapping[str, Any]
    sources: Mapping[str, tuple[_Node, str] | str]
    identity: str
    experiments: list[Experiment] = field(default_factory=list)


class _Chain:
    """Collects nodes; what is the same is shared."""

    def __init__(self) -> None:
        self.nodes: dict[str, _Node] = {}

    def need(self, stage_name: str, wanted: Wanted) -> _Node:
        """Add a stage for what it is wanted for, after all that it needs."""
        stage = STAGES[stage_name]
        sources: dict[str, tuple[_Node, str] | str] = {}
        for each in stage.inputs:
            source = each.source(wanted)
            if isinstance(source, Output):
                representation = source.representation or wanted.representation
                of = Wanted(wanted.experiment, representation, wanted.seed)
                sources[each.name] = (self.need(source.stage, of), source.path)
            elif source is not None:
                sources[each.name] = source
        values = {name: value_of(wanted.experiment, name) for name in stage.fields if name not in _OWN}
        arguments = stage.arguments(values | {name: getattr(wanted, name) for name in _OWN})
        read = {name: [of[0].identity, of[1]] if isinstance(of, tuple) else of for name, of in sources.items()}
        identity = _hash(json.dumps([stage.name, stage.signed(arguments), read], sort_keys=True, default=str))
        if identity not in self.nodes:
            self.nodes[identity] = _Node(stage, wanted, arguments, sources, identity)
        self.nodes[identity].experiments.append(wanted.experiment)
        return self.nodes[identity]


def _own_label(stage: Stage, wanted: Wanted) -> str:
    if stage.name not in (EMBED, CLASSIFY):
        return ""
    several = stage.name == CLASSIFY and len(wanted.experiment.seeds) > 1
    return wanted.representation + (f",seed={wanted.seed}" if several else "")


def _as_tasks(nodes: list[_Node], sweep: Sweep, output_dir: Path) -> list[Task]:
    """Give nodes, parents first, their folders: two of one label are told apart by a hash of what they are."""
    labels = {node.identity: _label(node, sweep) for node in nodes}
    count = Counter((node.stage.name, labels[node.identity]) for node in nodes)
    tasks: dict[str, Task] = {}
    for node in nodes:
        label = labels[node.identity]
        if count[node.stage.name, label] > 1 or len(label) > _MAX_LABEL:
            label = f"{label[:_MAX_LABEL]}~{node.identity[:6]}".lstrip()
        inputs: dict[str, Path] = {}
        parents: dict[str, Task] = {}
        for name, source in node.sources.items():
            if isinstance(source, tuple):
                parents[source[0].identity] = parent = tasks[source[0].identity]
                inputs[name] = parent.folder / source[1]
            else:
                inputs[name] = Path(source)
        folder = output_dir / node.stage.name / label.replace(" ", ",")
        arguments, work = node.arguments, node.stage.work(node.wanted)
        tasks[node.identity] = Task(node.stage, folder, inputs, arguments, tuple(parents.values()), label, work)
    return list(tasks.values())


def _label(node: _Node, sweep: Sweep) -> str:
    """What a task is labelled with: those swept values that can reach it and that all it is wanted for share."""
    swept = []
    for axis in _axes_reaching(node, sweep):
        values = {_text(value_of(each, axis)) for each in node.experiments}
        others = {_text(value_of(each, axis)) for each in sweep.experiments} - values
        if len(values) == 1 and others:
            value = values.pop()
            word = _word(value)
            is_unique = word not in map(_word, others)
            swept.append(f"{axis}={word}" if is_unique else f"{axis}={word}~{_hash(value)[:6]}")
    return " ".join(filter(None, (_own_label(node.stage, node.wanted), ",".join(swept))))


def _axes_reaching(node: _Node, sweep: Sweep) -> list[str]:
    """The axes that a task, or one that it reads from, is signed with; any, if it reads a path that is swept."""
    reaching = set(node.stage.signed(node.arguments))
    for each in node.stage.inputs:
        source = node.sources.get(each.name)
        if isinstance(source, tuple):
            reaching.update(_axes_reaching(source[0], sweep))
        elif len({each.source(replace(node.wanted, experiment=one)) for one in sweep.experiments}) > 1:
            reaching.update(sweep.axes)
    return [axis for axis in sweep.axes if axis in reaching]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _word(text: str) -> str:
    """A value as a part of a folder's name; of a path, its last part."""
    return _UNSAFE.sub("_", text.rstrip("/").rpartition("/")[2])


def _text(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


def flag(name: str) -> str:
    """The flag of an input or a setting."""
    return "--" + name.replace("_", "-")


def _flag_words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{flag(name)[2:]}"]
    if isinstance(value, tuple):
        return [flag(name), *map(str, value)]
    return [flag(name), value if isinstance(value, str) else json.dumps(value)]
