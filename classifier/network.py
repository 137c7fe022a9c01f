"""The multi-label classifiers of SONYC-UST: every frame of a clip passes through the same small network.

`mil`         multiple-instance learning: AutoPool pools the frames' predictions into the clip's, and the loss compares
              that with the clip's labels, so that weak labels, per clip, suffice
`framewise`   the loss compares each frame with the labels of its clip, and the clip's prediction is the mean, maximum
              or softmax-weighted mean of its frames'

References
----------
Cartwright et al., SONYC Urban Sound Tagging, DCASE 2019 workshop: the baseline. Srivastava et al., ICASSP 2021,
and its code, github.com/ksangeeta2429/embedding-approx. McFee, Salamon and Bello, Adaptive pooling operators for
weakly labeled sound event detection, IEEE/ACM TASLP 26(11), 2018: AutoPool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from l3embedding.classifier.scaling import Standardizer, Whitener
from l3embedding.settings import ClassifierSettings
from l3embedding.utils.registry import look_up

TAGS, SENSOR, PROXIMITY = "tags", "sensor", "proximity"
"""The outputs: the tags, and the auxiliary tasks."""

AGGREGATIONS: Mapping[str, Callable[..., keras.KerasTensor]] = {
    "max": ops.max,
    "mean": ops.mean,
    # The mean, weighted by the softmax of the predictions themselves.
    "softmax": lambda predictions, axis: ops.sum(ops.softmax(predictions, axis) * predictions, axis),
}


@keras.saving.register_keras_serializable("classifier")
class AutoPool(layers.Layer):
    """Pool `[batch, frames, classes]` over frames with softmax weights of trainable sharpness.

    A class's alpha is 0 for the mean and grows towards the maximum. It starts at 1 and is constrained to be
    non-negative, since below 0 pooling would tend to the minimum.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make alpha `[classes]`."""
        constraint = keras.constraints.NonNeg()
        self.alpha = self.add_weight((input_shape[-1],), "ones", constraint=constraint, name="alpha")

    def call(self, predictions: keras.KerasTensor) -> keras.KerasTensor:
        return ops.sum(ops.softmax(self.alpha * predictions, axis=1) * predictions, axis=1)


@keras.saving.register_keras_serializable("classifier")
class AggregateFrames(layers.Layer):
    """Pool `[batch, frames, ...]` over frames in a fixed way, one of `AGGREGATIONS`."""

    def __init__(self, how: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.how, self._aggregate = how, look_up(AGGREGATIONS, how, "classifier.frame_aggregation")

    def call(self, predictions: keras.KerasTensor) -> keras.KerasTensor:
        return self._aggregate(predictions, axis=1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"how": self.how}


@dataclass(frozen=True)
class ModelType:
    """How the frames of a clip lead to its prediction."""

    per_frame: bool  #: whether the loss is of each frame's prediction, rather than the clip's
    pool: Callable[[ClassifierSettings], layers.Layer]  #: makes the layer that pools the frames' predictions


MODEL_TYPES: Mapping[str, ModelType] = {
    "mil": ModelType(False, lambda settings: AutoPool(name="autopool")),
    "framewise": ModelType(
        True, lambda settings: AggregateFrames(settings.frame_aggregation or "mean", name="aggregation")
    ),
}


@dataclass(frozen=True)
class Classifier:
    """Three models that share one network and its weights.

    Attributes
    ----------
    trained
        Input to all outputs, by name where there is more than one.
    tags
        Input to the tags alone, per frame for a framewise model. Its loss selects the epoch, since the sensor task
        cannot generalise to held-out sensors.
    clips
        Input to one prediction per clip, `[batch, tags]`.
    """

    trained: keras.Model
    tags: keras.Model
    clips: keras.Model


@keras.saving.register_keras_serializable("classifier")
class OnEachFrame(layers.Layer):
    """Apply a network, image to vector, to each frame: `[batch, frames, ...]` to `[batch, frames, d]`.

    Its batch normalisation stays in inference mode: a batch holds few clips, whose frames are much alike, so its
    statistics would be poor.
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Do nothing: the network is built already."""

    def call(self, frames: keras.KerasTensor) -> keras.KerasTensor:
        """Fold the frames into the batch, and back."""
        shape = ops.shape(frames)
        vectors = self.network(ops.reshape(frames, (-1, *frames.shape[2:])), training=False)
        return ops.reshape(vectors, (shape[0], shape[1], self.network.output_shape[-1]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """`[batch, frames, d]`."""
        return (*input_shape[:2], self.network.output_shape[-1])

    def get_config(self) -> dict[str, Any]:
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
        `(d,)`, or the encoder's input shape.
    n_tags
        Number of tags.
    settings
        Layers, pooling and auxiliary tasks.
    scaling
        The first layer, after the encoder.
    encoder
        A network, frame to embedding, that is trained together with the classifier.
    context_size
        Features of the clip that are concatenated to those of each frame.
    n_sensors, n_proximities
        Size of the auxiliary outputs; those whose factor is 0 are left out.
    """
    kind = look_up(MODEL_TYPES, settings.model_type, "classifier.model_type")
    frames = keras.Input((None, *frame_shape), name="frames")
    inputs = [frames]
    x = frames if encoder is None else OnEachFrame(encoder, name="encoder")(frames)
    x = scaling(x) if scaling else x
    if context_size:
        context = keras.Input((context_size,), name="context")
        inputs.append(context)
        x = layers.Concatenate(name="with_context")([x, _RepeatPerFrame(name="context_of_frames")([context, x])])
    for index in range(1, settings.num_hidden_layers + 1):
        x = _dense(settings.hidden_layer_size, "relu", f"hidden_{index}", settings)(x)
        x = layers.Dropout(settings.dropout, name=f"dropout_{index}")(x) if settings.dropout else x
    factors = _auxiliary(x, settings, n_sensors, n_proximities)
    if factors:
        # The tags are predicted from the auxiliary predictions too, as in the authors' code.
        x = layers.Concatenate(name="with_factors")([x, *map(_flat, factors.values())])
    frame_tags = _dense(n_tags, "sigmoid", "frame_prediction", settings)(x)
    clips = kind.pool(settings)(frame_tags)
    tags = frame_tags if kind.per_frame else clips
    if not kind.per_frame:
        factors = {name: AggregateFrames("mean", name=name)(factor) for name, factor in factors.items()}
    by_tags = keras.Model(inputs, tags, name=settings.model_type)
    return Classifier(
        keras.Model(inputs, {TAGS: tags} | factors, name="with_factors") if factors else by_tags,
        by_tags,
        keras.Model(inputs, clips, name="clips") if kind.per_frame else by_tags,
    )


@keras.saving.register_keras_serializable("classifier")
class _RepeatPerFrame(layers.Layer):
    """Repeat features of a clip `[batch, k]` for each of its frames, `[batch, frames, k]`."""

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
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
    """The auxiliary predictions of each frame."""
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
