"""An experiment: one YAML file, typed and validated, in which every choice of a run is written down.

All keys are flat and each is a field of `Experiment`, so that `--set KEY=VALUE`, a YAML line, a
program's `--key-name` flag and a column of a table all speak of the same thing by the same name.
A key that takes one value may be given a list, and one that takes a list a list of lists: that is a *sweep*, and
`read_experiment` returns one experiment for each combination.
"""

from __future__ import annotations

import itertools
import os
import types
import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from string import Template
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from l3embedding.jobs.contradictions import contradictions
from l3embedding.utils.errors import InputError

Representation = Literal["teacher", "reduced", "student", "student-int8", "mfcc", "logmel-cnn"]
Fraction = Annotated[float, Field(gt=0, lt=1)]

SbatchOptions = Annotated[str, Field(pattern=r"^\s*(0[0-7]|\*)\s*:\s*-")]

WITHOUT_UPSTREAM = frozenset({"teacher", "mfcc", "logmel-cnn"})
"""The representations that need no upstream recordings."""


class Experiment(BaseModel):
    """Every parameter of a run. The description of a field is the help of its command-line flag."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    name: str = Field(description="Name of the experiment; its output folder is outputs/NAME")
    random_state: int = Field(20180216, ge=0, description="Seed of every random choice")

    # A synthetic street, where there are no recordings
    synthetic_street: bool = Field(False, description="Synthesise the recordings and the annotated clips")
    street_sensors: PositiveInt = Field(4, description="Synthetic sensors")
    street_recordings: PositiveInt = Field(24, description="Synthetic recordings of each sensor")
    street_recording_s: PositiveFloat = Field(10.0, description="Length of a synthetic recording, s")
    street_train_clips: PositiveInt = Field(160, description="Synthetic annotated clips to train on")
    street_validate_clips: PositiveInt = Field(80, description="Synthetic annotated clips to judge on")
    street_clip_s: PositiveFloat = Field(4.0, description="Length of a synthetic annotated clip, s")

    # 00: the teacher's embeddings of the target domain
    audio_root: str | None = Field(
        None,
        description="Upstream recordings: SENSOR/*.wav, recordings.csv, or ESC-50; not needed to judge the teacher, "
        "mfcc and logmel-cnn",
    )
    exclude_sensor: str | None = Field(None, description="A sensor whose recordings the upstream stages never hear")
    teacher: str = Field(
        "openl3_audio_mel256_env",
        description="The teacher: an official name, a weights file, a model's file or folder, or my_module:load",
    )
    teacher_embedding_size: PositiveInt | None = Field(
        None, description="For openl3's teachers: 512, or 6144 for its 4 x 3 grid of them"
    )
    stand_in_teacher: bool = Field(
        False, description="Where the teacher's official weights are not at hand, use a seeded untrained network"
    )
    weights_dirs: tuple[str, ...] = Field((), description="Folders searched for official weights before the cache")
    spl_root: str | None = Field(
        None, description="Folder of measured levels, SENSOR.csv or SENSOR.h5; without it, of the audio itself"
    )
    upstream_hop_size: PositiveFloat = Field(0.5, description="Hop between upstream frames of 1 s, s")
    validate_fraction: Fraction = Field(0.1, description="Share of each sensor's recordings kept for validation")
    recordings_per_shard: PositiveInt = Field(128, description="Recordings in a shard, the unit of resumption")
    time_zone: str = Field("America/New_York", description="IANA time zone of the sensors")
    teacher_batch_size: PositiveInt = Field(32, description="Frames that the teacher embeds at once")

    # 01: the sample that the reduction is fitted on
    sampling: Literal["random", "spl", "dpp_div", "dpp"] = Field(
        "dpp", description="uniform, by relevance, by diversity (k-DPP), or by diversity and relevance (k-DPP)"
    )
    sample_size: PositiveInt = Field(500_000, description="Embeddings in the sample")
    timescale: Literal["day", "week", "month"] = Field("day", description="Frames are sampled group by group of these")
    sampling_scope: Literal["combined", "per_sensor"] = Field(
        "combined", description="Whether the sample size is shared among the sensors or given to each"
    )

    dpp_kernel: Literal["unit", "paper"] = Field(
        "unit",
        description="Kernel of the k-DPP: embeddings of unit length; paper: of unit l1 norm, with a ridge of 0.1",
    )
    dpp_method: Literal["exact", "mcmc", "map"] = Field(
        "exact", description="How the k-DPP is drawn: exactly, by a short Markov chain, or greedily its likeliest set"
    )
    dpp_steps: PositiveInt = Field(3, description="Steps of the Markov chain; the authors took 3")

    # 02: the reduction phi
    approx_mode: Literal["pca", "umap", "mse"] = Field(
        "pca", description="The reduction that takes the teacher's embedding to the student's; mse: none"
    )
    tsne_points: int = Field(0, ge=0, description="Sampled embeddings that the report shows as a t-SNE picture")
    pca_kernel: Literal["linear", "poly", "rbf"] = Field("linear", description="Kernel of the PCA")
    umap_n_neighbors: Annotated[int, Field(ge=2)] = Field(15, description="Neighbours that UMAP looks at")
    umap_min_dist: NonNegativeFloat = Field(0.1, description="Least distance between neighbours in UMAP's space")
    umap_metric: Literal["euclidean", "cosine", "correlation", "manhattan", "chebyshev"] = Field(
        "euclidean", description="Distance of UMAP between standardised embeddings"
    )
    allow_pickle: bool = Field(
        False, description="Load a phi that is a pickled UMAP, which may run code: only one of your own"
    )

    # 03: the student
    student: PositiveInt = Field(128, description="Embedding dimension; 512, 256, 128 and 64 are the paper's students")
    student_filters: tuple[PositiveInt, ...] | None = Field(
        None, description="Filters of each block of a student of one's own; the last must equal its dimension"
    )
    student_head: Literal["linear", "relu"] = Field(
        "linear", description="End of the student: linear reaches negative targets, relu is the released models'"
    )
    asr: PositiveInt = Field(8000, description="Sampling rate of the student's audio input representation, Hz")
    num_mels: PositiveInt = Field(64, description="Mel bins of the student's input representation")
    num_dft: PositiveInt = Field(1024, description="DFT size of the student's input representation")
    hop_len: PositiveInt = Field(160, description="DFT hop length of the student's input representation, samples")
    fmax: PositiveFloat | None = Field(
        None, description="Upper edge of the student's mel filter bank, Hz; half the rate by default"
    )
    distillation_loss: Literal["mse", "whitened_mse", "cosine", "relational"] = Field(
        "mse", description="What the student minimises; whitened_mse: all dimensions alike; see l3embedding/losses.py"
    )
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32", description="Arithmetic of training; mixed_bfloat16 is faster on processors and GPUs that have it"
    )
    initial_student: str | None = Field(
        None,
        description="Start from the weights of this student, a name, file or folder, and not from scratch",
    )
    continue_from: str | None = Field(
        None, description="Folder of an earlier run of 03 whose training goes on: optimizer, schedule, best, history"
    )
    num_epochs: PositiveInt = Field(300, description="Epochs at most")
    train_epoch_size: PositiveInt = Field(4096, description="Batches an epoch, at most one pass over the data")
    validation_epoch_size: PositiveInt = Field(1024, description="Validation batches an epoch, at most one pass")
    batch_size: PositiveInt = Field(64, description="Frames in a batch")
    learning_rate: PositiveFloat = Field(1e-4, description="Adam's learning rate; the authors used 1e-4 and 1e-5")
    patience: PositiveInt = Field(10, description="Epochs without improvement before training stops")
    min_delta: NonNegativeFloat = Field(1e-4, description="Least decrease of the validation loss that counts")
    plateau_patience: PositiveInt = Field(5, description="Epochs without improvement before the rate is divided by 10")
    checkpoint_interval: PositiveInt = Field(10, description="Epochs between numbered checkpoints")

    # 04: the board
    calibration_frames: PositiveInt = Field(512, description="Upstream frames that calibrate the 8-bit student")
    flash_limit_bytes: PositiveInt = Field(2_000_000, description="Flash of the board, bytes")
    ram_limit_bytes: PositiveInt = Field(1_000_000, description="RAM of the board, bytes")

    # 05, 06: downstream
    dataset: Literal["sonyc_ust", "esc50", "us8k", "dcase2013"] = Field("sonyc_ust", description="Downstream data set")
    dataset_root: str | None = Field(None, description="Folder of the downstream data set")
    representations: tuple[Representation, ...] = Field(
        ("teacher", "reduced", "student", "student-int8"),
        description="What is judged downstream, side by side; baselines: mfcc, and logmel-cnn, the student's network "
        "trained on the labels of a data set with folds",
    )
    embedding_hop_size: PositiveFloat = Field(0.1, description="Hop between frames of a downstream clip, s")
    # 06 on SONYC-UST
    split_path: str | None = Field(
        None, description="CSV (audio_filename or sensor_id, split) or JSON that replaces the annotations' splits"
    )
    evaluate_split: Literal["validate", "test"] = Field("validate", description="Split that is judged")
    label_mode: Literal["coarse", "fine"] = Field("coarse", description="Tags that are learned")
    target_mode: Literal["any", "verified"] = Field(
        "any", description="Training labels: of any annotator (minority vote), or of verified clips alone"
    )
    model_type: Literal["mil", "framewise"] = Field(
        "mil", description="What the labels teach: the clip, pooled by AutoPool, or each of its frames"
    )
    frame_aggregation: Literal["max", "mean", "softmax"] | None = Field(
        None, description="How a framewise model's frames become one prediction of the clip; by default mean"
    )
    num_hidden_layers: int = Field(2, ge=0, description="Hidden layers of the classifier")
    hidden_layer_size: PositiveInt = Field(128, description="Units of a hidden layer of the classifier")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of a hidden layer's units that are silent in a step")
    optimizer: Literal["adam", "lbfgs"] = Field("adam", description="By batches, or by all clips at once")
    classifier_epochs: PositiveInt = Field(1500, description="Epochs of the classifier at most")
    classifier_patience: PositiveInt = Field(1500, description="Epochs without improvement before it stops")
    classifier_batch_size: PositiveInt = Field(64, description="Clips in a batch of the classifier")
    classifier_learning_rate: PositiveFloat = Field(1e-4, description="Adam's learning rate for the classifier")
    l2_reg: NonNegativeFloat = Field(1e-5, description="L2 regularisation of the classifier")
    standardize: bool = Field(True, description="Standardise the embeddings by the training clips")
    pca: bool = Field(False, description="Whiten the embeddings by a PCA of the training clips' frames")
    pca_components: PositiveInt | None = Field(None, description="Its components; by default all")
    timestamp_features: bool = Field(False, description="Put place, week, day and hour of the clip beside each frame")
    sensor_factor: NonNegativeFloat = Field(0.0, description="Weight of telling the sensors apart; 0: off")
    proximity_factor: NonNegativeFloat = Field(0.0, description="Weight of telling near from far; 0: off")
    cooccurrence_loss: bool = Field(False, description="Add the graph Laplacian loss of tags that occur together")
    cooccurrence_loss_factor: NonNegativeFloat = Field(1e-5, description="Weight of the co-occurrence loss")
    oversample: Literal["none", "mlsmote", "lssmote"] = Field(
        "none", description="Synthesise clips of rare labels, or of rare sets of labels"
    )
    oversample_iters: PositiveInt = Field(1, description="Passes of oversampling")
    threshold_type: Annotated[str, Field(pattern=r"^(mean|percentile_(\d{1,2}|100))$")] = Field(
        "mean", description="Which imbalance is rare: above the mean, or above percentile_P"
    )
    fine_tune: bool = Field(False, description="Train the student along with the classifier")

    # 06 on folds
    fold_classifier: Literal["logistic", "svm", "mlp", "random_forest"] = Field(
        "logistic", description="Classifier of a data set with fixed folds"
    )
    clip_statistics: Literal["mean", "mean_std", "statistics", "framewise"] = Field(
        "mean",
        description="What a fold classifier takes of a clip: the mean of its frames, mean and deviation, eleven "
        "statistics of their course, or each frame by itself, its answers averaged",
    )
    parameter_search: bool = Field(
        False, description="Choose the fold classifier's parameters among the training folds, for each judged fold"
    )
    logistic_c: PositiveFloat = Field(0.1, description="Inverse regularisation of the logistic regression, unsearched")
    supervision: Literal["labels", "embedding", "soft_labels", "both"] = Field(
        "labels",
        description="What logmel-cnn learns from: the labels alone, or beside them the teacher's embeddings, its "
        "softened class probabilities, or both; see classifier/cnn.py",
    )
    temperature: PositiveFloat = Field(4.0, description="By which the teacher's class probabilities are softened")
    teacher_weight: Fraction = Field(0.5, description="The teacher's share of logmel-cnn's loss; the labels' the rest")
    classifier_seeds: tuple[int, ...] = Field((0,), description="Seeds of the classifier; one run each")

    # The Google Sheet that is kept up with the runs
    gsheet_id: str = Field("", description="Id of the sheet, from its URL; by default $GSHEET_ID")
    google_dev_app_name: str = Field("", description="Name of the sheet; by default $GOOGLE_DEV_APP_NAME")

    # Slurm: these say how the work is done, never what comes of it
    array_tasks: PositiveInt = Field(15, description="Tasks of an array job, which share sensors or clips")
    array_throttle: PositiveInt = Field(4, description="Tasks of one array that may run at a time")
    max_timeouts: NonNegativeInt = Field(10, description="Times a job that ran into its time limit is requeued")
    sbatch: tuple[SbatchOptions, ...] = Field(
        (), description="Options for sbatch by stage, such as '03: --gres=gpu:1 --mem=32G'; '*' is every stage"
    )

    @model_validator(mode="after")
    def _hang_together(self) -> Experiment:
        if contradiction := next(contradictions(self), None):
            raise ValueError(contradiction)
        return self

    @property
    def needs_upstream(self) -> bool:
        """Whether something that is judged comes of upstream recordings."""
        return not WITHOUT_UPSTREAM.issuperset(self.representations)

    @property
    def sheet_variables(self) -> dict[str, str]:
        """The environment variables by which the programs learn of the sheet, where the experiment names one."""
        named = {"GSHEET_ID": self.gsheet_id, "GOOGLE_DEV_APP_NAME": self.google_dev_app_name}
        return {name: value for name, value in named.items() if value}


class Sweep(typing.NamedTuple):
    """What an experiment file stands for: the swept keys, and one experiment for each combination of values."""

    axes: tuple[str, ...]
    experiments: tuple[Experiment, ...]


def read_experiment(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Sweep:
    """Read and validate an experiment file.

    Parameters
    ----------
    path
        A YAML mapping of `Experiment` keys. `${key}` within a value stands for that key's value.
    overrides
        `KEY=VALUE`, the value in YAML's notation; they replace what the file says.

    Raises
    ------
    InputError
        The file is missing or no mapping; a key is unknown (the nearest is named); a value is wrong
        (the allowed ones are named).
    """
    values = _read_mapping(path) | dict(_parse_override(text) for text in overrides)
    values.setdefault("name", Path(path).stem)
    for key in values:
        _check_key(key, str(path))
    values = _interpolate(values, str(path))
    axes = tuple(key for key, value in values.items() if _is_sweep(key, value))
    for axis in axes:
        if not values[axis]:
            raise InputError(f"{path}: the sweep over {axis} is empty.")
    combinations = itertools.product(*(dict.fromkeys(map(_hashable, values[axis])) for axis in axes))
    each = (values | dict(zip(axes, combination, strict=True)) for combination in combinations)
    return Sweep(axes, tuple(_validate(combined, str(path)) for combined in each))


def takes_list(key: str) -> bool:
    """Say whether one value of `key` is itself a list."""
    return any(typing.get_origin(option) is tuple for option in _options(Experiment.model_fields[key].annotation))


def _is_sweep(key: str, value: Any) -> bool:
    """Whether a list stands for several values of a key; where one value is a list, that is a list of lists."""
    if not isinstance(value, list):
        return False
    return not takes_list(key) or (bool(value) and all(isinstance(each, list) for each in value))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _options(annotation: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _read_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The experiment {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} must be a mapping of keys to values.")
    return {str(key): value for key, value in values.items()}


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: write KEY=VALUE.")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--set {text}: the value is not valid YAML: {error}") from None


def _check_key(key: str, where: str) -> None:
    if key not in Experiment.model_fields:
        raise InputError(f"{where}: {key!r} is not a key of an experiment{_nearest(key, Experiment.model_fields)}")


def _nearest(word: object, known: typing.Iterable[object]) -> str:
    names = [str(name) for name in known]
    matches = get_close_matches(str(word), names, n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else f"; the keys are {', '.join(names)}."


def _interpolate(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    def expand(value: Any) -> Any:
        if isinstance(value, list):
            return [expand(item) for item in value]
        if not isinstance(value, str) or "$" not in value:
            return value
        try:
            return Template(value).substitute(values)
        except (KeyError, ValueError) as error:
            raise InputError(f"{where}: {value!r} refers to {error}, which this experiment does not set.") from None

    return {key: expand(value) for key, value in values.items()}


def _validate(values: Mapping[str, Any], where: str) -> Experiment:
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise InputError("\n".join(f"{where}: {_explain(item)}" for item in error.errors())) from None


def _explain(error: Mapping[str, Any]) -> str:
    if not error["loc"]:
        return error["msg"].removeprefix("Value error, ") + "."
    key = str(error["loc"][0])
    said = f"{key}: {error['input']!r}"
    if error["type"] == "literal_error":
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        matches = get_close_matches(str(error["input"]), allowed, n=1)
        hint = f"; did you mean {matches[0]}?" if matches else "."
        return f"{said} is not one of {', '.join(allowed)}{hint}"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{said} is wrong: {message}."
