"""End-to-end fine-tuning in stage 06: the student is trained further, with the classifier on top of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.classifier.scaling import Standardizer
from l3embedding.embedding import BEST_MODEL, load_model
from l3embedding.models.networks import embedding_model
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path

IMAGES = "images"
"""Folder of the log-mel images, within the stage's."""


@dataclass(frozen=True)
class Tuning:
    """A student that is trained together with the classifier.

    Attributes
    ----------
    model
        The student.
    encoder
        Its network, image to embedding, whose weights change.
    scaling
        Standardisation of its embeddings as they were before.
    """

    model: KerasEmbeddingModel
    encoder: keras.Model
    scaling: Standardizer | None

    @classmethod
    def of(cls, student_dir: Path, embeddings: NDArray[np.floating] | None) -> Tuning:
        """Load a student, and fit the standardisation to its embeddings of the training clips, if there shall be one.

        Raises
        ------
        InputError
            The student is not a Keras model.
        """
        model = load_model(student_dir)
        if not isinstance(model, KerasEmbeddingModel):
            raise InputError(f"{student_dir} holds an 8-bit student, which cannot be trained; fine-tune that of 03.")
        # The saved network still has the loss and metrics of stage 03, which would be trained and logged here too.
        encoder = keras.Model(model.network.inputs, model.network.outputs, name=model.network.name)
        return cls(model, encoder, None if embeddings is None else Standardizer.fit(embeddings))

    def save(self, folder: Path) -> None:
        """Write the student as stage 03 does, and remove the images, the largest files by far."""
        with atomic_path(folder / BEST_MODEL) as temporary:
            embedding_model(self.model.representation, self.encoder).save(temporary)
        shutil.rmtree(folder / IMAGES)
