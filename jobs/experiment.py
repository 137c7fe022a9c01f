"""An experiment file: YAML sections of settings, validated, and swept over lists.

Where a setting takes one value, a list is a *sweep*; where it takes a list, a list of lists is. An experiment
file then stands for one experiment per combination of the swept values.
"""

from __future__ import annotations

import itertools
import os
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from string import Template
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from l3embedding.settings import Experiment, Settings, groups
from l3embedding.utils.errors import InputError

_FORMER = """
synthetic_street=street.synthetic street_sensors=street.sensors street_recordings=street.recordings
street_recording_s=street.recording_s street_train_clips=street.train_clips street_validate_clips=street.validate_clips
street_clip_s=street.clip_s audio_root=recordings.root exclude_sensor=recordings.exclude_sensor
spl_root=recordings.levels upstream_hop_size=recordings.hop_size validate_fraction=recordings.validate_fraction
recordings_per_shard=recordings.per_shard time_zone=recordings.time_zone teacher_embedding_size=teacher.embedding_size
stand_in_teacher=teacher.stand_in weights_dirs=teacher.weights_dirs teacher_batch_size=teacher.batch_size
sampling=sample.method sample_size=sample.size timescale=sample.timescale sampling_scope=sample.scope
dpp_kernel=sample.kernel dpp_method=sample.draw dpp_steps=sample.steps approx_mode=reduction.mode
pca_kernel=reduction.kernel umap_n_neighbors=reduction.n_neighbors umap_min_dist=reduction.min_dist
umap_metric=reduction.metric allow_pickle=reduction.allow_pickle tsne_points=report.tsne_points
student_filters=student.filters student_head=student.head distillation_loss=distillation.loss
num_epochs=distillation.epochs dataset_root=dataset.root embedding_hop_size=dataset.hop_size
classifier_epochs=classifier.epochs classifier_patience=classifier.patience classifier_batch_size=classifier.batch_size
classifier_learning_rate=classifier.learning_rate fold_classifier=folds.classifier classifier_seeds=seeds
"""
FORMER = dict(pair.split("=") for pair in _FORMER.split())
"""Former flat keys whose name has changed, and what they are now."""


class Sweep(typing.NamedTuple):
    """What an experiment file stands for."""

    axes: tuple[str, ...]  # the swept settings, dotted
    experiments: tuple[Experiment, ...]  # one per combination of their values


def read_experiment(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Sweep:
    """Read and validate an experiment file.

    Parameters
    ----------
    path
        A YAML mapping of the sections in `l3embedding.settings`. `${section.field}` within a value stands for
        that setting's value in the same combination.
    overrides
        `SECTION.FIELD=VALUE`, the value in YAML's notation; they replace what the file sets.

    Raises
    ------
    InputError
        The file is missing or no mapping, a key is unknown (its new name, or the nearest, is given), or a value is
        wrong (the allowed ones are named). All mistakes of one kind are reported at once.
    """
    where = str(path)
    values = _flatten(_read_mapping(path), where)
    for text in overrides:
        values |= _flatten(_parse_override(text), f"--set {text}")
    values.setdefault("name", Path(path).stem)
    values = {name: value[0] if _is_sweep(name, value) and len(value) == 1 else value for name, value in values.items()}
    axes = tuple(name for name, value in values.items() if _is_sweep(name, value))
    for axis in axes:
        if not values[axis] or any(isinstance(each, dict) for each in values[axis]):
            raise InputError(f"{where}: the sweep over {axis} is {values[axis]}; it needs one or more values.")
    # As tuples, values that are lists can be compared: a value that is given twice is one experiment.
    choices = ([tuple(each) if isinstance(each, list) else each for each in values[axis]] for axis in axes)
    combinations = itertools.product(*map(dict.fromkeys, choices))
    each = (values | dict(zip(axes, combination, strict=True)) for combination in combinations)
    return Sweep(axes, tuple(_validate(_interpolate(combined, where), where) for combined in each))


def field_of(name: str) -> FieldInfo:
    """The declaration of a setting, `SECTION.FIELD` or `FIELD`."""
    section, _, field = name.rpartition(".")
    return (groups()[section] if section else Experiment).model_fields[field]


def value_of(experiment: Experiment, name: str) -> Any:
    """The value of a setting, `SECTION.FIELD` or `FIELD`."""
    section, _, field = name.rpartition(".")
    return getattr(getattr(experiment, section) if section else experiment, field)


def setting_names() -> list[str]:
    """All settings, dotted, in the order of their declaration."""
    sections = groups()
    names: list[str] = []
    for name in Experiment.model_fields:
        names += [f"{name}.{field}" for field in sections[name].model_fields] if name in sections else [name]
    return names


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into sections."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        section, _, field = name.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[field] = value
    return nested


def takes_list(field: FieldInfo) -> bool:
    """Whether one value of a setting is itself a list."""
    annotation = field.annotation
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    options = typing.get_args(annotation) if is_union else (annotation,)
    return any(typing.get_origin(option) is tuple for option in options)


def _is_sweep(name: str, value: Any) -> bool:
    if not isinstance(value, list):
        return False
    if not takes_list(field_of(name)):
        return True
    return bool(value) and all(isinstance(each, list) for each in value)


def _read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The experiment {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must be a mapping of keys to values.")
    return values


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write SECTION.FIELD=VALUE.")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: the value is not valid YAML: {error}") from None
    section, _, field = key.strip().rpartition(".")
    return {section: {field: parsed}} if section else {field: parsed}


def _flatten(mapping: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Turn sections into dotted names; a section that is no mapping gives its main field."""
    sections, values, unknown = groups(), {}, []
    for key, value in mapping.items():
        section: type[Settings] = sections.get(key, Settings)
        if key not in Experiment.model_fields:
            unknown.append(_unknown(str(key)))
        elif key not in sections:
            values[key] = value
        elif isinstance(value, dict):
            unknown += [_unknown(f"{key}.{field}") for field in value if field not in section.model_fields]
            values |= {f"{key}.{field}": each for field, each in value.items()}
        elif value is not None and section.main:
            values[f"{key}.{section.main}"] = value
        elif value is not None:
            unknown.append(f"{key!r} is a section: {', '.join(section.model_fields)}.")
    if unknown:
        raise InputError("\n".join(f"{where}: {sentence}" for sentence in unknown))
    return values


def _unknown(key: str) -> str:
    message = f"{key!r} is not a setting"
    if key in FORMER:
        return f"{message} any more; it is now {FORMER[key]}."
    names = setting_names()
    if same := [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]:
        return f"{message}; did you mean {' or '.join(same)}?"
    last = key.rpartition(".")[2]
    if near := get_close_matches(last, {name.rpartition(".")[2] for name in names}, n=1, cutoff=0.75):
        return f"{message}; did you mean {' or '.join(name for name in names if name.rpartition('.')[2] == near[0])}?"
    if near := get_close_matches(key, [*names, *groups()], n=1, cutoff=0.5):
        return f"{message}; did you mean {near[0]!r}?"
    section = groups().get(key.partition(".")[0])
    known = section.model_fields if section else Experiment.model_fields
    return f"{message}; known are {', '.join(known)}."


class _References(Template):
    """`${section.field}`, or `${section}` for its main field."""

    idpattern = r"[a-z_]+(?:\.[a-z_0-9]+)?"


def _interpolate(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = {name: default for name in setting_names() if (default := field_of(name).default) is not None} | dict(
        values
    )
    known |= {name: known[f"{name}.{each.main}"] for name, each in groups().items() if f"{name}.{each.main}" in known}

    def expand(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [expand(item) for item in value]
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            return _References(value).substitute(known)
        except (KeyError, ValueError) as error:
            raise InputError(f"{where}: {value!r} refers to {error}, which this experiment does not set.") from None

    return {name: expand(value) for name, value in values.items()}


def _validate(values: Mapping[str, Any], where: str) -> Experiment:
    try:
        return Experiment.model_validate(nest(values))
    except ValidationError as error:
        raise InputError("\n".join(f"{where}: {sentence}" for sentence in explain(error))) from None


def explain(error: ValidationError, section: str = "") -> Iterator[str]:
    """Put the mistakes that a validation found into sentences, which name the setting and what is allowed."""
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        names = [str(part) for part in (section, *item["loc"]) if part != ""]
        # A tuple's items are numbered behind the field; a group's own rule has no field.
        name = ".".join(names[:2] if names and names[0] in groups() else names[:1])
        if item["type"] == "value_error" and not isinstance(item["input"], str):
            yield from (f"{sentence}." for sentence in message.splitlines())
        elif item["type"] in ("literal_error", "value_error"):
            allowed = message.partition(" is not one of ")[2] or item.get("ctx", {}).get("expected", "")
            options = allowed.replace("'", "").replace(" or ", ", ").split(", ")
            near = get_close_matches(str(item["input"]), options, n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            yield f"{name}: {item['input']!r} is not one of {', '.join(options)}{hint}"
        else:
            yield f"{name}: {item['input']!r} is wrong: {message[0].lower()}{message[1:]}."
