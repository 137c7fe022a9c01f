"""UMAP of standardised embeddings: it preserves neighbourhoods, where PCA preserves variance, and is far slower.

References
----------
McInnes, Healy and Melville, UMAP: Uniform Manifold Approximation and Projection, 2018; umap-learn.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import threading
import typing
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import h5py
import numpy as np
from numpy.typing import NDArray

from l3embedding.settings import ReductionSettings
from l3embedding.upstream.reduction import check_dimension, save_arrays, standardization
from l3embedding.utils.errors import InputError

if typing.TYPE_CHECKING:
    from umap import UMAP

logger = logging.getLogger(__name__)

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class UmapPhi:
    """phi(x) = UMAP((x - mean) / scale)."""

    mean: NDArray[np.float64]  # [D]
    scale: NDArray[np.float64]  # [D]; 1 for a constant feature
    estimator: UMAP
    n_samples: int

    explained_variance_ratio: ClassVar[None] = None  # not defined: UMAP is not a projection

    @property
    def embedding_size(self) -> int:
        return int(self.estimator.n_components)

    @property
    def key(self) -> str:
        of = self.estimator
        shape = f"umap_ndata={self.n_samples}_emb={self.embedding_size}"
        return f"{shape}_k={of.n_neighbors}_metric={of.metric}_dist={of.min_dist:g}"

    def transform(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        check_dimension(embeddings, len(self.mean))
        # Several shards are reduced at a time, and umap-learn is not safe in threads.
        with _ONE_AT_A_TIME:
            standardized = ((embeddings - self.mean) / self.scale).astype(np.float32)
            return np.asarray(self.estimator.transform(standardized), np.float32)

    def save(self, path: str | os.PathLike[str]) -> None:
        pickled = pickle.dumps(self.estimator)
        arrays: dict[str, NDArray[Any] | int] = {"mean": self.mean, "scale": self.scale, "n_samples": self.n_samples}
        arrays["estimator"] = np.frombuffer(pickled, np.uint8)
        save_arrays(path, "umap", arrays, estimator_sha256=hashlib.sha256(pickled).hexdigest())


def fit(sample: Iterable[NDArray[np.floating]], dim: int, settings: ReductionSettings, random_state: int) -> UmapPhi:
    """Fit standardisation and UMAP to chunks `[n_i, D]`."""
    embeddings = np.concatenate(list(sample))
    needed = max(dim + 2, settings.n_neighbors + 1)
    if len(embeddings) < needed:
        raise InputError(
            f"UMAP to {dim} dimensions with {settings.n_neighbors} neighbours needs at least {needed} embeddings; "
            f"it got {len(embeddings)}."
        )
    mean, scale = standardization(embeddings)
    logger.info("fitting UMAP to %d embeddings; umap-learn compiles itself for up to a minute first", len(embeddings))
    from umap import UMAP  # slow to import

    options = settings.model_dump(include={"n_neighbors", "min_dist", "metric"})
    estimator = UMAP(n_components=dim, random_state=random_state, n_jobs=1, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that a seed means one thread
        estimator.fit(((embeddings - mean) / scale).astype(np.float32))
    return UmapPhi(mean, scale, estimator, len(embeddings))


def read(file: h5py.File, allow_pickle: bool) -> UmapPhi:
    """Read what `UmapPhi.save` wrote."""
    content = file["estimator"][:].tobytes()
    if not allow_pickle:
        raise InputError(
            f"{file.filename} holds a pickled UMAP, which can execute any code when it is loaded. "
            "If you made it yourself, set reduction.allow_pickle."
        )
    if hashlib.sha256(content).hexdigest() != file.attrs["estimator_sha256"]:
        raise InputError(f"{file.filename} is damaged: its estimator is not what was saved.")
    estimator = pickle.loads(content)  # allowed by the user
    return UmapPhi(file["mean"][:], file["scale"][:], estimator, int(file["n_samples"][()]))
