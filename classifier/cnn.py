"""A network that learns to classify clips: from the labels alone, or from a teacher, too.

What a teacher adds is one of the strategies of Cerutti et al. (2019), in one loss beside the labels'

    (1 - w) CE(y, p) + w (E + S)

`embedding`
    E, the mean squared error of the teacher's embeddings, standardised, as a linear map of the student's: so a
    student of any dimension can learn from any teacher
`soft_labels`
    S = T^2 KL(q_T || p_T), where q_T are the class probabilities of a classifier on the teacher's embeddings and
    p_T the student's, both softened by the temperature T
`both`
    E + S

The paper's text is not at hand: how it weighs its losses is not known here, and w is ours.

References
----------
Cerutti et al., Neural Network Distillation on IoT Platforms for Sound Event Detection, Interspeech 2019; Hinton et
al., Distilling the Knowledge in a Neural Network, 2015 (S, T); Romero et al., FitNets, ICLR 2015 (the linear map).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.preprocessing import StandardScaler

from l3embedding.settings import CnnSettings

logger = logging.getLogger(__name__)

Load = Callable[[str], NDArray[np.floating]]

_LOG_EPOCHS = 10


@dataclass(frozen=True)
class CnnTeacher:
    """What a network learns from, beside the labels.

    Attributes
    ----------
    strategy
        See the top of this module.
    load
        Name of a clip to the teacher's embeddings of the frames whose images the student sees, float
        `[frames, d]`. Where resampling made one of them a frame longer, that frame is left out.
    classifier
        Untrained; says the probabilities of classes of the teacher's embeddings. It learns from the clips that the
        student learns from, and from no others.
    temperature
        T; 1 leaves the probabilities as they are, more makes them more alike.
    weight
        w, the teacher's share of the loss, in (0, 1).
    """

    strategy: Literal["embedding", "soft_labels", "both"]
    load: Load
    classifier: BaseEstimator
    temperature: float = 4.0
    weight: float = 0.5

    def targets(self, embeddings: NDArray[np.floating], labels: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        """What the student shall say of each frame.

        Parameters
        ----------
        embeddings
            The teacher's, float `[n, d]`.
        labels
            The frames' classes, 0 to classes - 1, `[n]`.

        Returns
        -------
        `embedding` float32 `[n, d]`, `softened` float32 `[n, classes]`, or both.
        """
        found = {}
        if self.strategy != "soft_labels":
            found["embedding"] = StandardScaler().fit_transform(embeddings).astype(np.float32)
        if self.strategy != "embedding":
            probabilities = clone(self.classifier).fit(embeddings, labels).predict_proba(embeddings)
            found["softened"] = soften(probabilities, self.temperature).astype(np.float32)
        return found


class CnnClassifier(ClassifierMixin, BaseEstimator):
    """Classifies clips by a convolutional network on the images of their frames.

    Each frame is learned with its clip's class; a clip is what its frames say on average. There is no
    validation part: the learning rate falls to nothing along a cosine, and the last epoch is taken.

    Parameters
    ----------
    build
        Makes the untrained network, image to embedding, for the shape of an image.
    load
        Name of a clip to the images of its frames, float `[frames, bins, windows, 1]`.
    settings
        How it is trained; Adam, batches of frames.
    seed
        Of the initial weights and of the order of the frames.
    teacher
        What it learns from beside the labels; None: nothing.
    """

    def __init__(
        self,
        build: Callable[[tuple[int, ...]], keras.Model],
        load: Load,
        settings: CnnSettings,
        seed: int = 0,
        teacher: CnnTeacher | None = None,
    ) -> None:
        self.build = build
        self.load = load
        self.settings = settings
        self.seed = seed
        self.teacher = teacher

    def fit(self, clips: NDArray, classes: NDArray) -> CnnClassifier:
        """Learn from clips, names `[n]`, and their classes `[n]`."""
        self.classes_, labels = np.unique(classes, return_inverse=True)
        frames, targets = self._lessons(clips, labels)
        keras.utils.set_random_seed(self.seed)
        self.model_ = self._model(
            frames.shape[1:], targets, self.settings.epochs * -(-len(frames) // self.settings.batch_size)
        )
        for epoch in range(1, self.settings.epochs + 1):
            order = np.random.default_rng([self.seed, epoch]).permutation(len(frames))
            batches = [
                order[start : start + self.settings.batch_size]
                for start in range(0, len(order), self.settings.batch_size)
            ]
            losses = [self._step(frames[b], {name: values[b] for name, values in targets.items()}) for b in batches]
            if epoch % _LOG_EPOCHS == 0:
                logger.info("epoch %d of %d: loss %.4f", epoch, self.settings.epochs, np.mean(losses))
        return self

    def predict(self, clips: NDArray) -> NDArray:
        """Say the class of each clip, `[n]`."""
        said = (self.model_(self.load(clip).astype(np.float32), training=False)["classes"] for clip in clips)
        best = [int(keras.ops.convert_to_numpy(each).mean(axis=0).argmax()) for each in said]
        return self.classes_[best]

    def _lessons(self, clips: NDArray, labels: NDArray[np.int64]) -> tuple[NDArray[np.float16], dict[str, NDArray]]:
        """The images of all frames, and by output what the network shall say of them."""
        images = [self.load(clip).astype(np.float16) for clip in clips]
        if self.teacher is None:
            return np.concatenate(images), {"classes": np.repeat(labels, [len(each) for each in images])}
        embeddings = [self.teacher.load(clip) for clip in clips]
        counts = [min(map(len, pair)) for pair in zip(images, embeddings, strict=True)]
        frames, said = (
            np.concatenate([each[:count] for each, count in zip(arrays, counts, strict=True)])
            for arrays in (images, embeddings)
        )
        labels = np.repeat(labels, counts)
        return frames, {"classes": labels} | self.teacher.targets(said, labels)

    def _model(self, image_shape: tuple[int, ...], targets: Mapping[str, NDArray], steps: int) -> keras.Model:
        """The network, with an output for each of the targets."""
        network = self.build(image_shape)
        logits = keras.layers.Dense(len(self.classes_), name="logits")(network.output)
        outputs = {"classes": keras.layers.Softmax(name="classes")(logits)}
        losses, weights = {"classes": "sparse_categorical_crossentropy"}, {"classes": 1.0}
        if self.teacher is not None:
            weights["classes"] -= self.teacher.weight
        if "softened" in targets:
            temperature = self.teacher.temperature
            outputs["softened"] = keras.layers.Softmax()(keras.layers.Rescaling(1 / temperature)(logits))
            losses["softened"], weights["softened"] = "kl_divergence", self.teacher.weight * temperature**2
        if "embedding" in targets:
            outputs["embedding"] = keras.layers.Dense(targets["embedding"].shape[1], name="teacher")(network.output)
            losses["embedding"], weights["embedding"] = "mse", self.teacher.weight
        model = keras.Model(network.input, outputs, name="cnn")
        rate = keras.optimizers.schedules.CosineDecay(self.settings.learning_rate, steps)
        model.compile(keras.optimizers.Adam(rate), losses, weights, jit_compile=False)
        return model

    def _step(self, images: NDArray[np.float16], targets: dict[str, NDArray]) -> float:
        return float(self.model_.train_on_batch(images.astype(np.float32), targets, return_dict=True)["loss"])


def soften(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Divide the logits of probabilities `[n, classes]` by a temperature, and make probabilities of them again."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
