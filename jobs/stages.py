"""The stages: the number, the name, what each reads and which parameters decide its result.

Job, program, log and folder of a stage bear the same number and name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from l3embedding.jobs.experiment import Experiment, Representation

PROGRAMS = Path(__file__).resolve().parent.parent / "scripts"


class TaskParameters(BaseModel):
    """Parameters in which the tasks of one stage differ within one experiment."""

    representation: Representation = Field("student", description="What embeds the clips")
    seed: int = Field(0, description="Seed of the classifier")


@dataclass(frozen=True)
class Input:
    """A file or folder that a stage reads.

    Attributes
    ----------
    name
        The flag is `--name`, with dashes.
    help
        What lies there.
    required
        Whether the stage can do without it.
    """

    name: str
    help: str
    required: bool = True


@dataclass(frozen=True)
class Stage:
    """One step of the chain.

    Attributes
    ----------
    name
        `03-train-approx-embedding`.
    summary
        What it does, in a line.
    inputs
        What it reads from disk.
    parameters
        The keys of `Experiment` and `TaskParameters` that decide its result.
    derived
        Those of them that its program finds in the inputs where they are not given.
    divisible
        Whether several tasks can share the work: over sensors, or over clips.
    """

    name: str
    summary: str
    inputs: tuple[Input, ...]
    parameters: tuple[str, ...]
    derived: tuple[str, ...] = ()
    divisible: bool = False

    @property
    def number(self) -> int | None:
        """The user's map, 0 to 7; None for what comes before the chain."""
        return int(self.name[:2]) if self.name[:2].isdigit() else None

    @property
    def program(self) -> Path:
        """The program that does it."""
        return PROGRAMS / f"{self.name.replace('-', '_')}.py"


def parameter_field(name: str) -> FieldInfo:
    """Type, default and description of a stage's parameter."""
    return Experiment.model_fields.get(name) or TaskParameters.model_fields[name]


def parameters_of(stage: Stage, experiment: Experiment, **task_parameters: Any) -> dict[str, Any]:
    """Pick the parameters that decide a stage's result out of an experiment."""
    return {
        name: task_parameters[name] if name in TaskParameters.model_fields else getattr(experiment, name)
        for name in stage.parameters
    }


CNN_PARAMETERS = ("student", "student_filters", "student_head", "supervision", "temperature", "teacher_weight")
"""Those of 06 that are only of account to logmel-cnn, the network that is trained there."""

_INPUT_REPRESENTATION = ("asr", "num_mels", "num_dft", "hop_len", "fmax")
_TEACHER = (
    "teacher",
    "teacher_embedding_size",
    "stand_in_teacher",
    "weights_dirs",
    "random_state",
    "teacher_batch_size",
)
_TAGGING = (
    "evaluate_split",
    "label_mode",
    "target_mode",
    "model_type",
    "frame_aggregation",
    "dropout",
    "optimizer",
    "pca",
    "pca_components",
    "timestamp_features",
    "sensor_factor",
    "proximity_factor",
    "cooccurrence_loss",
    "cooccurrence_loss_factor",
    "oversample",
    "oversample_iters",
    "threshold_type",
    "fine_tune",
)

_STAGES = (
    Stage(
        "synthesize-street",
        "synthesise a small street: recordings of its sensors, and annotated clips",
        inputs=(),
        parameters=(
            "random_state",
            "street_sensors",
            "street_recordings",
            "street_recording_s",
            "street_train_clips",
            "street_validate_clips",
            "street_clip_s",
        ),
    ),
    Stage(
        "00-extract-teacher-embeddings",
        "cut the recordings into frames, and store each with its teacher embedding and its relevance",
        inputs=(
            Input("audio_root", "upstream recordings: SENSOR/*.wav, recordings.csv, or the layout of ESC-50"),
            Input("spl_root", "measured levels: SENSOR.csv or SENSOR.h5", required=False),
        ),
        parameters=(
            "exclude_sensor",
            *_TEACHER,
            "upstream_hop_size",
            "validate_fraction",
            "recordings_per_shard",
            "time_zone",
            "asr",
        ),
        divisible=True,
    ),
    Stage(
        "01-sample-teacher-embeddings",
        "draw the sample of teacher embeddings that the reduction is fitted on",
        inputs=(Input("audio_dir", "folder of 00: upstream shards in train/ and validate/"),),
        parameters=(
            "sampling",
            "sample_size",
            "timescale",
            "sampling_scope",
            "dpp_kernel",
            "dpp_method",
            "dpp_steps",
            "time_zone",
            "random_state",
        ),
        divisible=True,
    ),
    Stage(
        "02-fit-reduction",
        "fit phi on the sample, and apply it to every upstream shard",
        inputs=(
            Input("audio_dir", "folder of 00: upstream shards in train/ and validate/"),
            Input("sample_dir", "folder of 01: the sample"),
        ),
        parameters=(
            "approx_mode",
            "student",
            "pca_kernel",
            "tsne_points",
            "umap_n_neighbors",
            "umap_min_dist",
            "umap_metric",
            "random_state",
        ),
    ),
    Stage(
        "03-train-approx-embedding",
        "train the student to produce phi(teacher(x)) from x",
        inputs=(
            Input("audio_dir", "upstream shards, in train/ and validate/"),
            Input("embedding_dir", "reduced shards, in train/ and validate/; not needed for mse", required=False),
            Input("continue_from", "folder of an earlier 03, whose training goes on here", required=False),
        ),
        parameters=(
            "approx_mode",
            "student",
            "student_filters",
            "student_head",
            *_INPUT_REPRESENTATION,
            "num_epochs",
            "train_epoch_size",
            "validation_epoch_size",
            "batch_size",
            "learning_rate",
            "patience",
            "min_delta",
            "plateau_patience",
            "checkpoint_interval",
            "distillation_loss",
            "precision",
            "initial_student",
            "weights_dirs",
            "random_state",
        ),
        derived=("student",),
    ),
    Stage(
        "04-export-student",
        "quantise the student to 8 bits, and see whether it fits the board",
        inputs=(
            Input("student_dir", "folder of 03: the student"),
            Input("audio_dir", "upstream shards, whose validation frames are compared"),
        ),
        parameters=("calibration_frames", "flash_limit_bytes", "ram_limit_bytes", "random_state"),
    ),
    Stage(
        "05-generate-embedding-samples",
        "embed the clips of the downstream data set",
        inputs=(
            Input("dataset_root", "folder of the downstream data set"),
            Input("model", "the student: folder, .keras or .tflite file", required=False),
            Input("features", "folder of 05: the teacher's embeddings, to be reduced", required=False),
            Input("phi", "the reduction, as 02 saved it", required=False),
        ),
        parameters=(
            "representation",
            "dataset",
            "embedding_hop_size",
            "allow_pickle",
            *_TEACHER,
            *_INPUT_REPRESENTATION,
        ),
        divisible=True,
    ),
    Stage(
        "06-train-classifier",
        "train and judge a classifier on the embeddings",
        inputs=(
            Input("dataset_root", "folder of the downstream data set"),
            Input("features", "folder of 05: one embedding file a clip"),
            Input("split_path", "CSV or JSON that replaces the splits of the annotations", required=False),
            Input("student_dir", "folder of 03: the student to fine-tune", required=False),
            Input("teacher_features", "folder of 05: what the teacher of logmel-cnn says of the clips", required=False),
        ),
        parameters=(
            "dataset",
            "representation",
            *_TAGGING,
            "num_hidden_layers",
            "hidden_layer_size",
            "classifier_epochs",
            "classifier_patience",
            "classifier_batch_size",
            "classifier_learning_rate",
            "l2_reg",
            "standardize",
            "fold_classifier",
            "clip_statistics",
            "parameter_search",
            "logistic_c",
            *CNN_PARAMETERS,
            "seed",
        ),
    ),
    Stage(
        "07-report",
        "lay the paper's tables and ours side by side, with figures, on one page",
        inputs=(Input("run_dir", "output folder of the experiment"),),
        parameters=(),
    ),
)

STAGES = {stage.name: stage for stage in _STAGES}
