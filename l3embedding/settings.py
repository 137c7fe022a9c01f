"""Every choice of a run, declared once, in groups named after the thing they describe.

A group is a section of the experiment's YAML, flags of the stages' programs, rows of the documentation's
tables, columns of the report and the argument that the algorithms take:

    student: {dim: 64, head: relu}             in YAML
    --set student.dim=64                       on the command line of `sea`
    --student.dim 64 --head relu               on that of a stage's program
    build_student(StudentSettings(dim=64), ...)

Each field declares what it does to a result:

`decides`   it decides the result, and is part of the signature of every stage that reads its group
`how`       it decides only how the result is computed: not signed, so a change repeats nothing
`reads`     it names a file or folder: the content is signed, not the name

and, where it counts for some values of another field only, for which (`when`): elsewhere it is not signed.

Rules between the fields of one group are methods of it, those between groups functions marked `rule`. Both
hold wherever settings are made, for an experiment and for a program called by hand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic.fields import FieldInfo

from l3embedding.data.datasets import DATASETS
from l3embedding.utils.errors import InputError

Kind = Literal["decides", "how", "reads"]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Values = Mapping[str, Any]

PAPER_STUDENTS = {512: (64, 128, 256, 512), 256: (32, 64, 128, 256), 128: (32, 64, 128, 128), 64: (32, 64, 128, 64)}
"""Filters of each block of the paper's Students 0, 1, 2 and 3, by embedding dimension (Srivastava et al., 2021)."""

IMAGE_HOP_S = 0.5
"""Least hop between log-mel images that a network is trained on, s: images that overlap more add little."""


def _field(default: Any, description: str, kind: Kind, when: Values | None) -> Any:
    return Field(default, description=description, json_schema_extra={"kind": kind, "when": dict(when or {})})


def decides(default: Any, description: str, when: Values | None = None) -> Any:
    """Declare a field that decides the result; with `when`, only where other fields have one of these values."""
    return _field(default, description, "decides", when)


def how(default: Any, description: str) -> Any:
    """Declare a field that decides how the result is computed, and not what it is."""
    return _field(default, description, "how", None)


def reads(description: str) -> Any:
    """Declare a path, unset by default, whose content decides the result."""
    return _field(None, description, "reads", None)


def kind_of(field: FieldInfo) -> Kind:
    """What a field does to a result."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict)
    return extra["kind"]  # type: ignore[return-value]


class Settings(BaseModel):
    """Base of all groups: frozen, validated, and without unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    main: ClassVar[str] = ""
    """The field that a section gives where it is not a mapping: `teacher: vggish` is `teacher: {name: vggish}`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if errors := list(self.contradictions()):
            raise ValueError("\n".join(errors))
        return self

    def contradictions(self) -> Iterator[str]:
        """Yield a sentence for each rule between fields of this group that does not hold."""
        return iter(())

    def signed(self) -> dict[str, Any]:
        """The fields that decide the result, without those that do not count for the values of others."""
        return {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if kind_of(field) == "decides" and self.counts(name)
        }

    def counts(self, name: str) -> bool:
        """Whether a field makes a difference, given the others."""
        extra = type(self).model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        when: Any = extra["when"]
        return all(getattr(self, other) in values and self.counts(other) for other, values in when.items())


class StreetSettings(Settings):
    """A synthetic street, which takes the place of recordings and of SONYC-UST."""

    main: ClassVar[str] = "synthetic"
    synthetic: bool = decides(False, "Synthesise the recordings and the annotated clips")
    sensors: PositiveInt = decides(4, "Synthetic sensors")
    recordings: PositiveInt = decides(24, "Synthetic recordings per sensor")
    recording_s: PositiveFloat = decides(10.0, "Length of a synthetic recording, s")
    train_clips: PositiveInt = decides(160, "Synthetic annotated training clips")
    validate_clips: PositiveInt = decides(80, "Synthetic annotated validation clips")
    clip_s: PositiveFloat = decides(4.0, "Length of a synthetic annotated clip, s")


class RecordingsSettings(Settings):
    """The unlabelled upstream recordings of the target domain, and how they become frames of one second."""

    main: ClassVar[str] = "root"
    root: str | None = reads("Upstream recordings: SENSOR/*.wav, a recordings.csv, or the layout of ESC-50")
    levels: str | None = reads("Measured levels, SENSOR.csv or SENSOR.h5; without them, the audio's own")
    exclude_sensor: str | None = decides(None, "A sensor that is left out of all upstream stages")
    hop_size: PositiveFloat = decides(0.5, "Hop between frames, s")
    audio_rate: PositiveInt = decides(8000, "Rate at which the frames' audio is stored for the student, Hz")
    validate_fraction: Fraction = decides(0.1, "Fraction of each sensor's recordings kept for validation")
    per_shard: PositiveInt = decides(128, "Recordings per shard, the unit of resumption")
    time_zone: str = decides("UTC", "IANA time zone of the sensors, for relevance and calendar groups")

    def contradictions(self) -> Iterator[str]:
        """The time zone exists."""
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            yield f"recordings.time_zone: {self.time_zone!r} is not an IANA name such as Europe/Rome"


class TeacherSettings(Settings):
    """The embedding that is distilled."""

    main: ClassVar[str] = "name"
    name: str = decides(
        "openl3_audio_mel256_env", "An official name, a weights file, a model's file or folder, or my_module:load"
    )
    embedding_size: PositiveInt | None = decides(None, "OpenL3 only: 512, or 6144 for its 4 x 3 grid")
    stand_in: bool = decides(False, "Where official weights are unavailable, use a seeded untrained network")
    weights_dirs: tuple[str, ...] = how((), "Folders searched for official weights before the cache")
    batch_size: PositiveInt = how(32, "Frames per forward pass")


_DPP = {"method": ("dpp_div", "dpp")}


class SampleSettings(Settings):
    """The sample of teacher embeddings that the reduction is fitted on."""

    main: ClassVar[str] = "method"
    method: Literal["random", "spl", "dpp_div", "dpp"] = decides(
        "dpp", "Uniform, by relevance, by diversity (k-DPP), or by diversity and relevance (k-DPP)"
    )
    size: PositiveInt = decides(500_000, "Embeddings in the sample")
    timescale: Literal["day", "week", "month"] = decides("day", "Calendar period by which frames are grouped")
    scope: Literal["combined", "per_sensor"] = decides(
        "combined", "Whether the size is shared among the sensors or holds for each"
    )
    kernel: Literal["unit", "paper"] = decides(
        "unit", "k-DPP kernel of embeddings of unit length; paper: of unit l1 norm, with a ridge of 0.1", _DPP
    )
    draw: Literal["exact", "mcmc", "map"] = decides(
        "exact", "How the k-DPP is drawn: exactly, by a short Markov chain, or greedily its mode", _DPP
    )
    steps: PositiveInt = decides(3, "Steps of the Markov chain; the authors took 3", {"draw": ("mcmc",)})


class ReductionSettings(Settings):
    """phi, the reduction from the teacher's embedding to the student's dimension."""

    main: ClassVar[str] = "mode"
    mode: Literal["pca", "umap", "mse"] = decides("pca", "The reduction; mse: none, the student learns the embedding")
    kernel: Literal["linear", "poly", "rbf"] = decides("linear", "Kernel of the PCA", {"mode": ("pca",)})
    n_neighbors: Annotated[int, Field(ge=2)] = decides(15, "Neighbours of a point in UMAP", {"mode": ("umap",)})
    min_dist: NonNegativeFloat = decides(0.1, "Least distance between points in UMAP's space", {"mode": ("umap",)})
    metric: Literal["euclidean", "cosine", "correlation", "manhattan", "chebyshev"] = decides(
        "euclidean", "UMAP's distance between standardised embeddings", {"mode": ("umap",)}
    )
    allow_pickle: bool = how(False, "Load a pickled UMAP, which may execute code: only one of your own")


def _dim_follows_filters(values: Any) -> Any:
    filters = values.get("filters") if isinstance(values, dict) else None
    if isinstance(filters, list | tuple) and filters and values.get("dim") is None:
        return {**values, "dim": filters[-1]}
    return values


class StudentSettings(Settings):
    """The student: its network and its input representation."""

    main: ClassVar[str] = "dim"
    dim: PositiveInt = decides(128, "Embedding dimension; 512, 256, 128 and 64 are the paper's students")
    filters: tuple[PositiveInt, ...] | None = decides(
        None, "Filters of each block, for a student of your own; the last is its dimension"
    )
    head: Literal["linear", "relu"] = decides(
        "linear", "End of the network: linear reaches negative targets, relu is the released models'"
    )
    asr: PositiveInt = decides(8000, "Audio sampling rate of the input representation, Hz")
    num_mels: PositiveInt = decides(64, "Mel bins of the input representation")
    num_dft: PositiveInt = decides(1024, "DFT size of the input representation")
    hop_len: PositiveInt = decides(160, "DFT hop length of the input representation, samples")
    fmax: PositiveFloat | None = decides(None, "Upper edge of the mel filter bank, Hz; by default half the rate")

    _dim = model_validator(mode="before")(_dim_follows_filters)

    def contradictions(self) -> Iterator[str]:
        """The dimension fits the filters, and the filter bank the rate."""
        if self.filters == ():
            yield "student.filters are empty; each block needs a number of filters"
        elif self.filters is not None and self.filters[-1] != self.dim:
            yield f"student.filters end in {self.filters[-1]}, but student.dim is {self.dim}"
        if self.fmax is not None and self.fmax > self.asr / 2:
            yield f"student.fmax: {self.fmax:g} Hz is above half of student.asr, {self.asr / 2:g} Hz"

    @property
    def blocks(self) -> tuple[int, ...]:
        """Filters of each block: its own, or those of the paper's student of this dimension.

        Raises
        ------
        InputError
            Neither is known.
        """
        if error := next(_filters_are_known(self), None):
            raise InputError(f"{error}.")
        return self.filters or PAPER_STUDENTS[self.dim]


class DistillationSettings(Settings):
    """How the student is trained to produce phi(teacher(x)) from x."""

    main: ClassVar[str] = "loss"
    loss: Literal["mse", "whitened_mse", "cosine", "relational"] = decides(
        "mse", "What is minimised; see l3embedding/distillation/losses.py"
    )
    epochs: PositiveInt = decides(300, "Maximum number of epochs")
    train_epoch_size: PositiveInt = decides(4096, "Training batches per epoch, at most one pass over the data")
    validation_epoch_size: PositiveInt = decides(1024, "Validation batches per epoch, at most one pass")
    batch_size: PositiveInt = decides(64, "Frames per batch")
    learning_rate: PositiveFloat = decides(1e-4, "Adam's learning rate; the authors used 1e-4 and 1e-5")
    patience: PositiveInt = decides(10, "Epochs without improvement before early stopping")
    min_delta: NonNegativeFloat = decides(1e-4, "Least decrease of the validation loss that counts as improvement")
    plateau_patience: PositiveInt = decides(5, "Epochs without improvement before the learning rate is divided by 10")
    checkpoint_interval: PositiveInt = decides(10, "Epochs between numbered checkpoints")
    precision: Literal["float32", "mixed_bfloat16"] = decides(
        "float32", "Arithmetic of training; mixed_bfloat16 is faster on processors and GPUs that support it"
    )
    initial_student: str | None = decides(None, "Start from the weights of this student: a name, file or folder")
    continue_from: str | None = reads("Folder of an earlier stage 03 to continue: optimizer, schedule, history")

    def contradictions(self) -> Iterator[str]:
        """There is one way to start."""
        if self.initial_student is not None and self.continue_from is not None:
            yield "distillation.initial_student and distillation.continue_from are two ways to start; set one of them"


class BoardSettings(Settings):
    """The microcontroller that the 8-bit student has to fit."""

    calibration_frames: PositiveInt = decides(512, "Upstream frames that calibrate the 8-bit student")
    flash_limit_bytes: PositiveInt = decides(2_000_000, "Flash of the board, bytes")
    ram_limit_bytes: PositiveInt = decides(1_000_000, "RAM of the board, bytes")


def _known_dataset(name: Any) -> Any:
    if name not in DATASETS:
        raise ValueError(f"{name!r} is not one of {', '.join(DATASETS)}")
    return name


class DatasetSettings(Settings):
    """The labelled downstream data set that embeddings are evaluated on."""

    main: ClassVar[str] = "name"
    name: Annotated[str, BeforeValidator(_known_dataset)] = decides(
        "sonyc_ust", f"Downstream data set: {', '.join(DATASETS)}"
    )
    root: str | None = reads("Folder of the downstream data set")
    hop_size: PositiveFloat = decides(0.1, "Hop between frames of a clip, s")
    split_path: str | None = reads("SONYC-UST: CSV (audio_filename or sensor_id, split) or JSON with other splits")
    evaluate_split: Literal["validate", "test"] = decides("validate", "SONYC-UST: the split to evaluate on")


_FRAMEWISE = {"model_type": ("framewise",)}


class ClassifierSettings(Settings):
    """The multi-label classifier of SONYC-UST; the defaults are the paper's."""

    main: ClassVar[str] = "model_type"
    model_type: Literal["mil", "framewise"] = decides(
        "mil", "Multiple-instance learning, which pools frames by AutoPool, or the clip's labels for each frame"
    )
    frame_aggregation: Literal["max", "mean", "softmax"] | None = decides(
        None, "How the frames' predictions become the clip's; by default mean", _FRAMEWISE
    )
    label_mode: Literal["coarse", "fine"] = decides("coarse", "Tags to learn")
    target_mode: Literal["any", "verified"] = decides(
        "any", "Training labels: present if any annotator labels it so, or verified clips only"
    )
    num_hidden_layers: NonNegativeInt = decides(2, "Hidden layers")
    hidden_layer_size: PositiveInt = decides(128, "Units per hidden layer")
    dropout: Annotated[float, Field(ge=0, lt=1)] = decides(0.0, "Dropout rate of the hidden layers")
    optimizer: Literal["adam", "lbfgs"] = decides("adam", "Adam in batches, or L-BFGS on all clips at once")
    epochs: PositiveInt = decides(1500, "Maximum number of epochs")
    patience: PositiveInt = decides(1500, "Epochs without improvement before early stopping")
    batch_size: PositiveInt = decides(64, "Clips per batch")
    learning_rate: PositiveFloat = decides(1e-4, "Adam's learning rate", {"optimizer": ("adam",)})
    l2_reg: NonNegativeFloat = decides(1e-5, "L2 regularisation of the kernels")
    standardize: bool = decides(True, "Standardise the embeddings by the training clips")
    pca: bool = decides(False, "Whiten the embeddings by a PCA of the training clips' frames")
    pca_components: PositiveInt | None = decides(None, "Components of that PCA; by default all", {"pca": (True,)})
    timestamp_features: bool = decides(False, "Concatenate place, week, day and hour of the clip to each frame")
    sensor_factor: NonNegativeFloat = decides(0.0, "Weight of the auxiliary task of recognising the sensor; 0: off")
    proximity_factor: NonNegativeFloat = decides(0.0, "Weight of the auxiliary task of near or far; 0: off")
    cooccurrence_loss: bool = decides(False, "Add the graph Laplacian loss of co-occurring tags")
    cooccurrence_loss_factor: NonNegativeFloat = decides(
        1e-5, "Weight of the co-occurrence loss", {"cooccurrence_loss": (True,)}
    )
    oversample: Literal["none", "mlsmote", "lssmote"] = decides(
        "none", "Synthesise clips of rare labels (MLSMOTE) or of rare label sets (LSSMOTE)"
    )
    oversample_iters: PositiveInt = decides(1, "Passes of oversampling", {"oversample": ("mlsmote", "lssmote")})
    threshold_type: Annotated[str, Field(pattern=r"^(mean|percentile_(\d{1,2}|100))$")] = decides(
        "mean",
        "Imbalance above which a label is rare: the mean, or percentile_P",
        {"oversample": ("mlsmote", "lssmote")},
    )
    fine_tune: bool = decides(False, "Train the student along with the classifier")

    def contradictions(self) -> Iterator[str]:
        """Options that exclude each other."""
        smotes = self.oversample != "none"
        if self.model_type == "mil" and self.frame_aggregation is not None:
            yield "classifier.frame_aggregation is for model_type framewise; mil pools by AutoPool"
        if self.pca_components is not None and not self.pca:
            yield "classifier.pca_components needs classifier.pca: true"
        if self.cooccurrence_loss and not self.cooccurrence_loss_factor:
            yield "classifier.cooccurrence_loss with a cooccurrence_loss_factor of 0 has no effect"
        if self.dropout > 0 and not self.num_hidden_layers:
            yield "classifier.dropout acts on hidden layers, but num_hidden_layers is 0"
        if self.dropout > 0 and self.optimizer == "lbfgs":
            yield "classifier.optimizer lbfgs needs a deterministic loss; dropout must be 0"
        if smotes and (self.sensor_factor or self.proximity_factor):
            yield (
                f"classifier.oversample {self.oversample} makes clips without a sensor or proximity; "
                "sensor_factor and proximity_factor must be 0"
            )
        if self.fine_tune and self.optimizer == "lbfgs":
            yield "classifier.fine_tune trains in batches; optimizer must be adam"
        if self.fine_tune and self.pca:
            yield "classifier.fine_tune changes the embeddings that pca is fitted on; pca must be false"
        if self.fine_tune and smotes:
            yield f"classifier.fine_tune needs audio, which oversample {self.oversample} does not make"


class FoldsSettings(Settings):
    """The classifier of a data set with fixed folds, of which each is the test fold in turn."""

    main: ClassVar[str] = "classifier"
    classifier: Literal["logistic", "svm", "mlp", "random_forest"] = decides("logistic", "Classifier of a clip")
    clip_statistics: Literal["mean", "mean_std", "statistics", "framewise"] = decides(
        "mean",
        "What it takes per clip: the frames' mean, mean and deviation, eleven statistics of their course, or each "
        "frame by itself, its predictions averaged",
    )
    parameter_search: bool = decides(False, "Choose its parameters among the training folds, for each test fold")
    logistic_c: PositiveFloat = decides(
        0.1, "Inverse regularisation of the logistic regression, unless searched", {"classifier": ("logistic",)}
    )
    standardize: bool = decides(True, "Standardise the embeddings by the training folds")


_TAUGHT = {"supervision": ("embedding", "soft_labels", "both")}


class CnnSettings(Settings):
    """The baseline `logmel-cnn`: the student's network, trained on the labels of a data set with folds."""

    main: ClassVar[str] = "supervision"
    supervision: Literal["labels", "embedding", "soft_labels", "both"] = decides(
        "labels",
        "What it learns from: the labels alone, or in addition the teacher's embeddings, its softened class "
        "probabilities, or both; see classifier/cnn.py",
    )
    temperature: PositiveFloat = decides(
        4.0, "Softens the teacher's class probabilities", {"supervision": ("soft_labels", "both")}
    )
    teacher_weight: Fraction = decides(
        0.5, "Weight of the teacher's part of the loss; the labels have the rest", _TAUGHT
    )
    epochs: PositiveInt = decides(50, "Number of epochs")
    batch_size: PositiveInt = decides(64, "Frames per batch")
    learning_rate: PositiveFloat = decides(1e-3, "Adam's initial learning rate, which decays along a cosine")


class ReportSettings(Settings):
    """What the report shows beside its tables."""

    tsne_points: NonNegativeInt = decides(0, "Sampled embeddings in a t-SNE picture; 0: none")


class TrackingSettings(Settings):
    """The Google Sheet that runs are logged to."""

    main: ClassVar[str] = "gsheet_id"
    gsheet_id: str = how("", "Id of the sheet, from its URL; by default $GSHEET_ID")
    google_dev_app_name: str = how("", "Name of the sheet; by default $GOOGLE_DEV_APP_NAME")

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which programs find the sheet, where it is named here."""
        named = {"GSHEET_ID": self.gsheet_id, "GOOGLE_DEV_APP_NAME": self.google_dev_app_name}
        return {name: value for name, value in named.items() if value}


SbatchOptions = Annotated[str, Field(pattern=r"^\s*(0[0-7]|\*)\s*:\s*-")]


class SlurmSettings(Settings):
    """How stages become jobs."""

    array_tasks: PositiveInt = how(15, "Tasks per job array, which share sensors or clips")
    array_throttle: PositiveInt = how(4, "Tasks of one array that may run at a time")
    max_timeouts: NonNegativeInt = how(10, "How often a job that hits its time limit is requeued")
    sbatch: tuple[SbatchOptions, ...] = how(
        (), "Options for sbatch by stage, such as '03: --gres=gpu:1 --mem=32G'; '*' is every stage"
    )


Representation = Literal["teacher", "reduced", "student", "student-int8", "mfcc", "logmel-cnn"]
"""What embeds a clip downstream: phi's output is `reduced`; `mfcc` and `logmel-cnn` are baselines."""


class Derivation(NamedTuple):
    """What a representation of the downstream clips is computed from, beside their audio."""

    inputs: Mapping[str, str] = {}
    """Input of stage 05 to where it comes from: `STAGE`, `STAGE/PATH` below its folder, or `STAGE:REPRESENTATION`."""
    settings: tuple[str, ...] = ()  # the settings that decide it


_INPUT_REPRESENTATION = ("student.asr", "student.num_mels", "student.num_dft", "student.hop_len", "student.fmax")

REPRESENTATIONS: Mapping[Representation, Derivation] = {
    "teacher": Derivation(settings=("teacher", "random_state")),
    "reduced": Derivation(
        {"features": "05-generate-embedding-samples:teacher", "phi": "02-fit-reduction/phi.h5"},
        ("reduction.allow_pickle",),
    ),
    "student": Derivation({"model": "03-train-approx-embedding"}),
    "student-int8": Derivation({"model": "04-export-student"}),
    "mfcc": Derivation(),
    "logmel-cnn": Derivation(settings=_INPUT_REPRESENTATION),
}
"""Those whose inputs include a stage from 00 to 04 need upstream recordings."""

UPSTREAM_REPRESENTATIONS = frozenset(
    name for name, each in REPRESENTATIONS.items() if any(source < "05" for source in each.inputs.values())
)


class Experiment(Settings):
    """All settings of a run."""

    name: str = how("", "Name of the experiment; its output folder is outputs/NAME")
    random_state: NonNegativeInt = decides(20180216, "Seed of every random choice")
    representations: tuple[Representation, ...] = decides(
        ("teacher", "reduced", "student", "student-int8"), "What is evaluated downstream, side by side"
    )
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = decides(
        (0,), "Seeds of the classifiers; one run per seed"
    )

    street: StreetSettings = decides(StreetSettings(), "Synthetic recordings and clips")
    recordings: RecordingsSettings = decides(RecordingsSettings(), "Upstream recordings")
    teacher: TeacherSettings = decides(TeacherSettings(), "The teacher")
    sample: SampleSettings = decides(SampleSettings(), "The sample that phi is fitted on")
    reduction: ReductionSettings = decides(ReductionSettings(), "phi")
    student: StudentSettings = decides(StudentSettings(), "The student")
    distillation: DistillationSettings = decides(DistillationSettings(), "Training of the student")
    board: BoardSettings = decides(BoardSettings(), "The board")
    dataset: DatasetSettings = decides(DatasetSettings(), "Downstream data set")
    classifier: ClassifierSettings = decides(ClassifierSettings(), "Classifier of SONYC-UST")
    folds: FoldsSettings = decides(FoldsSettings(), "Classifier of a data set with folds")
    cnn: CnnSettings = decides(CnnSettings(), "The baseline logmel-cnn")
    report: ReportSettings = decides(ReportSettings(), "The report")
    tracking: TrackingSettings = decides(TrackingSettings(), "The Google Sheet")
    slurm: SlurmSettings = decides(SlurmSettings(), "Slurm jobs")

    def contradictions(self) -> Iterator[str]:
        """Rules between groups."""
        yield from contradictions(dict(self))

    @property
    def trains_student(self) -> bool:
        """Whether a student is wanted: to be evaluated, or, where nothing is evaluated, for itself."""
        return _trains_student(self.representations)


def _trains_student(representations: tuple[Representation, ...]) -> bool:
    return not representations or not {"student", "student-int8"}.isdisjoint(representations)


def groups() -> dict[str, type[Settings]]:
    """The sections of an experiment: name to class."""
    fields = Experiment.model_fields.items()
    return {
        name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    }


Rule = Callable[..., Iterator[str]]
_RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Mark a rule between groups; the names of its parameters are the groups."""
    _RULES.append(function)
    return function


def contradictions(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each rule that does not hold among those whose groups are all given, in full."""
    for function in _RULES:
        names = inspect.signature(function).parameters
        if names.keys() <= given.keys():
            yield from function(**{name: given[name] for name in names})


@rule
def _filters_are_known(student: StudentSettings) -> Iterator[str]:
    if student.filters is None and student.dim not in PAPER_STUDENTS:
        known = ", ".join(map(str, PAPER_STUDENTS))
        yield f"student.dim: {student.dim} is none of the paper's {known}; set student.filters"


@rule
def _paths_are_set(
    street: StreetSettings,
    recordings: RecordingsSettings,
    dataset: DatasetSettings,
    representations: tuple[Representation, ...],
) -> Iterator[str]:
    needs_upstream = not representations or not UPSTREAM_REPRESENTATIONS.isdisjoint(representations)
    if not street.synthetic and needs_upstream and recordings.root is None:
        yield "recordings.root is missing; set it, or street: true"
    if not street.synthetic and representations and dataset.root is None:
        yield "dataset.root is missing; set it, or street: true, or representations: [] for a student alone"


@rule
def _street_is_sonyc_ust(street: StreetSettings, dataset: DatasetSettings) -> Iterator[str]:
    if street.synthetic and dataset.name != "sonyc_ust":
        yield f"street: true synthesises clips in the form of SONYC-UST; dataset.name cannot be {dataset.name}"


@rule
def _stored_audio_suffices(
    recordings: RecordingsSettings, student: StudentSettings, representations: tuple[Representation, ...]
) -> Iterator[str]:
    if _trains_student(representations) and student.asr > recordings.audio_rate:
        yield (
            f"student.asr: {student.asr} Hz is above recordings.audio_rate, {recordings.audio_rate} Hz, at which the "
            f"upstream audio is stored; set recordings.audio_rate: {student.asr}"
        )


@rule
def _phi_is_loadable(reduction: ReductionSettings, representations: tuple[Representation, ...]) -> Iterator[str]:
    if "reduced" in representations and reduction.mode == "mse":
        yield "representations name 'reduced', but reduction.mode: mse has no phi"
    if "reduced" in representations and reduction.mode == "umap" and not reduction.allow_pickle:
        yield "representations name 'reduced', which loads a pickled UMAP; set reduction.allow_pickle: true"


@rule
def _cnn_has_folds(dataset: DatasetSettings, representations: tuple[Representation, ...]) -> Iterator[str]:
    if "logmel-cnn" in representations and not DATASETS[dataset.name].has_folds:
        with_folds = ", ".join(name for name, each in DATASETS.items() if each.has_folds)
        yield f"representations name 'logmel-cnn', which needs a data set with folds: {with_folds}"


@rule
def _only_a_student_is_fine_tuned(
    classifier: ClassifierSettings, representations: tuple[Representation, ...]
) -> Iterator[str]:
    if classifier.fine_tune and representations != ("student",):
        yield "classifier.fine_tune trains the student; representations can then be [student] only"


@rule
def _supervision_is_possible(
    cnn: CnnSettings, folds: FoldsSettings, representations: tuple[Representation, ...]
) -> Iterator[str]:
    if cnn.supervision == "labels":
        return
    if "logmel-cnn" not in representations:
        yield f"cnn.supervision: {cnn.supervision} is for logmel-cnn, which representations do not name"
    if folds.classifier == "svm" and cnn.supervision != "embedding":
        yield f"cnn.supervision: {cnn.supervision} needs class probabilities, which folds.classifier: svm does not give"


@rule
def _images_match_frames(cnn: CnnSettings, dataset: DatasetSettings) -> Iterator[str]:
    if cnn.supervision != "labels" and dataset.hop_size < IMAGE_HOP_S:
        yield (
            f"cnn.supervision: {cnn.supervision} pairs the teacher's frames with images, one every {IMAGE_HOP_S} s; "
            f"dataset.hop_size must be at least that"
        )
