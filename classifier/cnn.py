"""A network that learns from the labels alone: what its architecture is worth without a teacher."""

from __future__ import annotations

import logging
from collections.abc import Callable

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

logger = logging.getLogger(__name__)

_LOG_EPOCHS = 10


class CnnClassifier(ClassifierMixin, BaseEstimator):
    """Classifies clips by a convolutional network on the images of their frames.

    Each frame is learned with its clip's class; a clip is what its frames say on average. There is no
    validation part: the learning rate falls to nothing along a cosine, and the last epoch is taken.

    Parameters
    ----------
    build
        Makes the untrained network, image to embedding.
    load
        Name of a clip to the images of its frames, float `[frames, size]`, flat.
    num_epochs, batch_size, learning_rate
        How it is trained; Adam, batches of frames.
    seed
        Of the initial weights and of the order of the frames.
    """

    def __init__(
        self,
        build: Callable[[], keras.Model],
        load: Callable[[str], NDArray[np.floating]],
        num_epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-4,
        seed: int = 0,
    ) -> None:
        self.build = build
        self.load = load
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed

    def fit(self, clips: NDArray, classes: NDArray) -> CnnClassifier:
        """Learn from clips, names `[n]`, and their classes `[n]`."""
        images = [self.load(clip).astype(np.float16) for clip in clips]
        self.classes_, labels = np.unique(classes, return_inverse=True)
        labels = np.repeat(labels, [len(each) for each in images])
        frames = np.concatenate(images)
        del images
        keras.utils.set_random_seed(self.seed)
        self.model_ = self._model(steps=self.num_epochs * -(-len(frames) // self.batch_size))
        for epoch in range(1, self.num_epochs + 1):
            order = np.random.default_rng([self.seed, epoch]).permutation(len(frames))
            batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
            losses = [float(self.model_.train_on_batch(self._shaped(frames[b]), labels[b])) for b in batches]
            if epoch % _LOG_EPOCHS == 0:
                logger.info("epoch %d of %d: loss %.4f", epoch, self.num_epochs, np.mean(losses))
        return self

    def predict(self, clips: NDArray) -> NDArray:
        """Say the class of each clip, `[n]`."""
        probabilities = (self.model_(self._shaped(self.load(clip)), training=False) for clip in clips)
        best = [int(keras.ops.convert_to_numpy(each).mean(axis=0).argmax()) for each in probabilities]
        return self.classes_[best]

    def _model(self, steps: int) -> keras.Model:
        network = self.build()
        output = keras.layers.Dense(len(self.classes_), activation="softmax", name="classes")(network.output)
        model = keras.Model(network.input, output, name="cnn")
        rate = keras.optimizers.schedules.CosineDecay(self.learning_rate, steps)
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
        return model

    def _shaped(self, frames: NDArray[np.floating]) -> NDArray[np.float32]:
        return frames.astype(np.float32).reshape(-1, *self.model_.input_shape[1:])
