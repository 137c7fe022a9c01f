"""A convolutional network that classifies clips, trained on the labels alone, or also on a teacher.

The teacher adds one of the strategies of Cerutti et al. (2019) to the loss of the labels y:

    (1 - w) CE(y, p) + w (E + S)

`embedding`
    E, the mean squared error between the teacher's standardised embeddings and a linear map of the student's, so
    that their dimensions may differ
`soft_labels`
    S = T^2 KL(q_T || p_T), where q_T are the class probabilities of a classifier on the teacher's embeddings and
    p_T the student's, both softened by the temperature T
`both`
    E + S

How the paper weighs its losses could not be checked; w is this project's choice.

References
----------
Cerutti et al., Neural Network Distillation on IoT Platforms for Sound Event Detection, Interspeech 2019; Hinton et
al., Distilling the Knowledge in a Neural Network, 2015 (S, T); Romero et al., FitNets, ICLR 2015 (the linear map).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.preprocessing import StandardScaler

from l3embedding.settings import CnnSettings
from l3embedding.training import Callbacks, EarlyStopping, Pass, Row, Training, TrainingState, on_batch, split_batches
from l3embedding.utils.registry import look_up

logger = logging.getLogger(__name__)

Load = Callable[[str], NDArray[np.floating]]

TARGETS: Mapping[str, frozenset[str]] = {
    "labels": frozenset(),
    "embedding": frozenset({"embedding"}),
    "soft_labels": frozenset({"softened"}),
    "both": frozenset({"embedding", "softened"}),
}
"""The targets that each kind of supervision adds to the labels."""

_LOG_EPOCHS = 10


@dataclass(frozen=True)
class CnnTeacher:
    """The teacher of a network.

    Attributes
    ----------
    load
        From the name of a clip to the teacher's embeddings of the frames of its images, float `[frames, d]`. Where
        resampling made one of the two a frame longer, that frame is left out.
    classifier
        Untrained, with class probabilities; it is trained on the same clips as the student, and on no others.
    """

    load: Load
    classifier: BaseEstimator


class CnnClassifier(ClassifierMixin, BaseEstimator):
    """Classifies clips by a convolutional network on the images of their frames.

    Each frame has its clip's label, and a clip's probabilities are the mean of its frames'. There is no validation
    set: the learning rate decays to zero along a cosine, and the last epoch is kept.

    Parameters
    ----------
    build
        Builds the untrained network, image to embedding, for the shape of an image.
    load
        From the name of a clip to the images of its frames, float `[frames, bins, windows, 1]`.
    settings
        Supervision and schedule.
    seed
        Seed of the initial weights and of the order of the frames.
    teacher
        Needed unless `settings.supervision` is `labels`.
    checkpoints
        Folder for the training's state, one file per set of training clips, from which `fit` resumes.
    """

    def __init__(
        self,
        build: Callable[[tuple[int, ...]], keras.Model],
        load: Load,
        settings: CnnSettings,
        seed: int = 0,
        teacher: CnnTeacher | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        self.build, self.load, self.settings = build, load, settings
        self.seed, self.teacher, self.checkpoints = seed, teacher, checkpoints

    def fit(self, clips: NDArray[Any], classes: NDArray[Any]) -> CnnClassifier:
        """Train on clips, names `[n]`, and their classes `[n]`."""
        self.classes_, labels = np.unique(classes, return_inverse=True)
        frames, targets = self._training_data(clips, labels)
        keras.utils.set_random_seed(self.seed)
        settings = self.settings
        self.model_ = self._model(frames.shape[1:], targets, settings.epochs * -(-len(frames) // settings.batch_size))
        checkpoint = None
        if self.checkpoints:
            # Each fold trains on other clips, and this object is not told which fold it is.
            checkpoint = self.checkpoints / f"{hashlib.sha256('/'.join(clips).encode()).hexdigest()[:16]}.npz"
        state = TrainingState.restore(checkpoint, self.model_, settings.learning_rate)

        def gather(rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
            return frames[rows].astype(np.float32), {name: values[rows] for name, values in targets.items()}

        def batches(epoch: int) -> Pass:
            order = np.random.default_rng([self.seed, epoch + 1]).permutation(len(frames))
            return Pass(split_batches(order, settings.batch_size), gather, on_batch(self.model_.train_on_batch))

        def log(row: Row) -> None:
            if row["epoch"] % _LOG_EPOCHS == 0:
                logger.info("epoch %d of %d: loss %.4f", row["epoch"], settings.epochs, row["train_loss"])

        stopping = EarlyStopping(settings.epochs, patience=settings.epochs)
        Training(self.model_, state, stopping, Callbacks(checkpoint=checkpoint), keep=log).run(batches)
        if checkpoint:
            checkpoint.unlink(missing_ok=True)
        return self

    def predict(self, clips: NDArray[Any]) -> NDArray[Any]:
        """Predict the class of each clip, `[n]`."""
        probabilities = (self.model_(self.load(clip).astype(np.float32), training=False)["classes"] for clip in clips)
        best = [int(keras.ops.convert_to_numpy(each).mean(axis=0).argmax()) for each in probabilities]
        return self.classes_[best]

    def _training_data(
        self, clips: NDArray[Any], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float16], dict[str, NDArray[Any]]]:
        """The images of all frames, and the targets of each output."""
        images = [self.load(clip).astype(np.float16) for clip in clips]
        wanted = look_up(TARGETS, self.settings.supervision, "cnn.supervision")
        if not wanted:
            return np.concatenate(images), {"classes": np.repeat(labels, [len(each) for each in images])}
        assert self.teacher is not None, "this supervision needs a teacher"
        vectors = [self.teacher.load(clip) for clip in clips]
        counts = [min(map(len, pair)) for pair in zip(images, vectors, strict=True)]
        frames = np.concatenate([each[:count] for each, count in zip(images, counts, strict=True)])
        embeddings = np.concatenate([each[:count] for each, count in zip(vectors, counts, strict=True)])
        labels = np.repeat(labels, counts)
        targets = {"classes": labels}
        if "embedding" in wanted:
            targets["embedding"] = StandardScaler().fit_transform(embeddings).astype(np.float32)
        if "softened" in wanted:
            probabilities = clone(self.teacher.classifier).fit(embeddings, labels).predict_proba(embeddings)
            targets["softened"] = soften(probabilities, self.settings.temperature).astype(np.float32)
        return frames, targets

    def _model(self, image_shape: tuple[int, ...], targets: Mapping[str, NDArray[Any]], steps: int) -> keras.Model:
        """Build the network, with an output for each of the targets."""
        network = self.build(image_shape)
        temperature, weight = self.settings.temperature, self.settings.teacher_weight
        logits = keras.layers.Dense(len(self.classes_), name="logits")(network.output)
        outputs = {"classes": keras.layers.Softmax(name="classes")(logits)}
        losses = {"classes": "sparse_categorical_crossentropy"}
        weights = {"classes": 1.0 if self.settings.supervision == "labels" else 1.0 - weight}
        if "softened" in targets:
            outputs["softened"] = keras.layers.Softmax()(keras.layers.Rescaling(1 / temperature)(logits))
            losses["softened"], weights["softened"] = "kl_divergence", weight * temperature**2
        if "embedding" in targets:
            outputs["embedding"] = keras.layers.Dense(targets["embedding"].shape[1], name="teacher")(network.output)
            losses["embedding"], weights["embedding"] = "mse", weight
        model = keras.Model(network.input, outputs, name="cnn")
        rate = keras.optimizers.schedules.CosineDecay(self.settings.learning_rate, steps)
        model.compile(keras.optimizers.Adam(rate), losses, weights, jit_compile=False)
        return model


def soften(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Divide the logits of probabilities `[n, classes]` by a temperature, and return probabilities again."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
