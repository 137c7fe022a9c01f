"""Stage 06 end to end: the student goes on learning, with the classifier on top of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from l3embedding.classifier.scaling import Standardizer
from l3embedding.downstream.clips import clip_images
from l3embedding.embedding import BEST_MODEL, load_model
from l3embedding.models.networks import embedding_model
from l3embedding.models.teachers import KerasEmbeddingModel
from l3embedding.utils.errors import InputError
from l3embedding.utils.files import atomic_path


@dataclass(frozen=True)
class Tuning:
    """A student that is trained along.

    Attributes
    ----------
    model
        The student.
    encoder
        Its network, image to embedding; the weights change.
    scaling
        Of its embeddings, as they were before.
    """

    model: KerasEmbeddingModel
    encoder: keras.Model
    scaling: Standardizer | None

    @classmethod
    def of(cls, student_dir: Path, embeddings: NDArray[np.floating] | None) -> Tuning:
        """Load a student; its embeddings of the training clips are standardised, if any are given."""
        model = load_model(student_dir)
        if not isinstance(model, KerasEmbeddingModel):
            raise InputError(f"{student_dir} holds an 8-bit student, which cannot be trained; fine-tune that of 03.")
        # The network that 03 saved still has the loss and the metrics of its own training; its layers have none.
        encoder = keras.Model(model.network.inputs, model.network.outputs, name=model.network.name)
        return cls(model, encoder, None if embeddings is None else Standardizer.fit(embeddings))

    def images(self, clips: list[Path], features: Path, path: Path) -> NDArray[np.float16]:
        """What the student sees of clips; see `l3embedding.downstream.clips.clip_images`."""
        return clip_images(clips, features, self.model, path)

    def save(self, output_dir: Path) -> None:
        """Write the student as 03 does, and remove the images, which take more room than all else."""
        with atomic_path(output_dir / BEST_MODEL) as temporary:
            embedding_model(self.model.representation, self.encoder).save(temporary)
        shutil.rmtree(output_dir / "images")
