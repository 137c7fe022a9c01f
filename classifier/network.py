"""The multi-label classifiers: every frame of a clip goes through the same small network.

`mil`         multiple-instance learning: AutoPool makes one prediction of those of all frames, and the clip's
              labels teach that, so that weak labels, of the clip, suffice
`framewise`   each frame is taught the labels of its clip, and the clip's prediction is the frames' mean, maximum
              or softmax-weighted mean

References
----------
Cartwright et al., SONYC Urban Sound Tagging, DCASE 2019 workshop: the baseline; Srivastava et al., ICASSP 2021,
and its code, github.com/ksangeeta2429/embedding-approx.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
from keras import layers, ops

from l3embedding.classifier.pooling import AggregateFrames, AutoPool, FrameAggregation
from l3embedding.classifier.scaling import Standardizer, Whitener

ModelType = Literal["mil", "framewise"]
Optimizer = Literal["adam", "lbfgs"]

TAGS, SENSOR, PROXIMITY = "tags", "sensor", "proximity"
"""The outputs: of the tags, and of the auxiliary tasks."""


@dataclass(frozen=True)
class ClassifierSettings:
    """How a classifier is built and trained; the defaults are the paper's.

    Attributes
    ----------
    model_type
        `mil` or `framewise`, see the top of this module.
    num_hidden_layers, hidden_layer_size
        Of the network that each frame goes through.
    dropout
        Share of a hidden layer's units that are silent in a step.
    frame_aggregation
        Of a framewise model.
    sensor_factor, proximity_factor
        Weight of the auxiliary losses: which sensor it is, and how near each fine tag's source. 0 leaves the
        task out.
    cooccurrence_loss_factor
        Weight of the co-occurrence loss; 0 leaves it out.
    optimizer
        `adam`, by batches; `lbfgs`, by all clips at once.
    num_epochs, patience
        Epochs at most, and without improvement before training stops. An epoch of L-BFGS is an iteration.
    batch_size
        Clips.
    learning_rate
        Adam's.
    l2_reg
        L2 regularisation of the kernels.
    """

    model_type: ModelType = "mil"
    num_hidden_layers: int = 2
    hidden_layer_size: int = 128
    dropout: float = 0.0
    frame_aggregation: FrameAggregation = "mean"
    sensor_factor: float = 0.0
    proximity_factor: float = 0.0
    cooccurrence_loss_factor: float = 0.0
    optimizer: Optimizer = "adam"
    num_epochs: int = 1500
    patience: int = 1500
    batch_size: int = 64
    learning_rate: float = 1e-4
    l2_reg: float = 1e-5


@dataclass(frozen=True)
class Classifier:
    """One network, seen in three ways; they share their weights.

    Attributes
    ----------
    trained
        Input to all outputs, by name.
    judged
        Input to the tags alone, as the loss sees them: of frames for a framewise model. It chooses the epoch, since
        a sensor that is held out cannot be recognised.
    clips
        Input to one prediction a clip, `[batch, tags]`.
    """

    trained: keras.Model
    judged: keras.Model
    clips: keras.Model


@keras.saving.register_keras_serializable("classifier")
class OnEachFrame(layers.Layer):
    """Apply a network, image to vector, to each frame: `[batch, frames, ...]` to `[batch, frames, d]`.

    Its normalisation stays as it was trained: a batch has few clips, whose frames are much alike.
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """The network is built already."""

    def call(self, frames: keras.KerasTensor) -> keras.KerasTensor:
        """Apply it."""
        shape = ops.shape(frames)
        vectors = self.network(ops.reshape(frames, (-1, *frames.shape[2:])), training=False)
        return ops.reshape(vectors, (shape[0], shape[1], self.network.output_shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[batch, frames, d]`."""
        return (*input_shape[:2], self.network.output_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return super().get_config() | {"network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OnEachFrame:
        """Undo `get_config`."""
        return cls(keras.saving.deserialize_keras_object(config.pop("network")), **config)


def build_classifier(
    frame_shape: tuple[int, ...],
    n_tags: int,
    settings: ClassifierSettings,
    *,
    scaling: Standardizer | Whitener | None = None,
    encoder: keras.Model | None = None,
    context_size: int = 0,
    n_sensors: int = 0,
    n_proximities: int = 0,
) -> Classifier:
    """Build an untrained classifier.

    Parameters
    ----------
    frame_shape
        Of one frame: `(d,)`, or what the encoder takes.
    n_tags
        Tags that are predicted.
    settings
        How.
    scaling
        Becomes the first layer, behind the encoder.
    encoder
        A network, frame to embedding, that is trained along.
    context_size
        Features of the clip that are put beside each frame's.
    n_sensors, n_proximities
        Size of the auxiliary outputs; those whose factor is 0 are left out.
    """
    frames = keras.Input((None, *frame_shape), name="frames")
    inputs = [frames]
    x = frames if encoder is None else OnEachFrame(encoder, name="encoder")(frames)
    x = scaling.layer()(x) if scaling else x
    if context_size:
        context = keras.Input((context_size,), name="context")
        inputs.append(context)
        x = layers.Concatenate(name="with_context")([x, _BesideFrames(name="context_of_frames")([context, x])])
    for index in range(1, settings.num_hidden_layers + 1):
        x = _dense(settings.hidden_layer_size, "relu", f"hidden_{index}", settings)(x)
        x = layers.Dropout(settings.dropout, name=f"dropout_{index}")(x) if settings.dropout else x
    factors = _auxiliary(x, settings, n_sensors, n_proximities)
    x = layers.Concatenate(name="with_factors")([x, *map(_flat, factors.values())]) if factors else x
    tags = _dense(n_tags, "sigmoid", "frame_prediction", settings)(x)
    if settings.model_type == "mil":
        clips = judged = AutoPool(name="autopool")(tags)
        factors = {name: AggregateFrames("mean", name=name)(factor) for name, factor in factors.items()}
    else:
        clips, judged = AggregateFrames(settings.frame_aggregation, name="aggregation")(tags), tags
    by_tags = keras.Model(inputs, judged, name=settings.model_type)
    return Classifier(
        keras.Model(inputs, {TAGS: judged} | factors, name="with_factors") if factors else by_tags,
        by_tags,
        by_tags if clips is judged else keras.Model(inputs, clips, name="clips"),
    )


@keras.saving.register_keras_serializable("classifier")
class _BesideFrames(layers.Layer):
    """Repeat features of a clip `[batch, k]` for each of its frames, `[batch, frames, k]`."""

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Repeat."""
        context, frames = inputs
        return ops.repeat(ops.expand_dims(context, 1), ops.shape(frames)[1], axis=1)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """`[batch, frames, k]`."""
        (batch, size), (_, frames, *_) = input_shape
        return (batch, frames, size)


def _dense(size: int, activation: str, name: str, settings: ClassifierSettings) -> layers.Dense:
    regularizer = keras.regularizers.L2(settings.l2_reg)
    return layers.Dense(size, activation=activation, kernel_regularizer=regularizer, name=name)


def _auxiliary(
    x: keras.KerasTensor, settings: ClassifierSettings, n_sensors: int, n_proximities: int
) -> dict[str, keras.KerasTensor]:
    """The auxiliary predictions of each frame; the tags are predicted with them in sight."""
    factors = {}
    if settings.sensor_factor:
        factors[SENSOR] = _dense(n_sensors, "softmax", "frame_sensor", settings)(x)
    if settings.proximity_factor:
        logits = _dense(2 * n_proximities, "linear", "frame_proximity_logits", settings)(x)
        pairs = layers.Reshape((-1, n_proximities, 2), name="frame_proximity_pairs")(logits)
        factors[PROXIMITY] = layers.Softmax(name="frame_proximity")(pairs)
    return factors


def _flat(factor: keras.KerasTensor) -> keras.KerasTensor:
    return factor if len(factor.shape) == 3 else layers.Reshape((-1, factor.shape[2] * 2), name="proximities")(factor)
