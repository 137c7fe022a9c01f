"""Selection of sensors that are far apart, by a k-DPP over their places.

The authors selected their 15 sensors this way, with similarity 1 / haversine distance. That matrix need not be a kernel
(its diagonal is not defined, and it may have negative eigenvalues); exp(-distance / scale) is one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from l3embedding.upstream.dpp import LowRankKernel, sample_k_dpp
from l3embedding.utils.errors import InputError

EARTH_RADIUS_KM = 6371.0088


def haversine_km(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Great-circle distances, float64 `[n, n]` km, of places float64 `[n]` in degrees."""
    phi, theta = np.radians(latitude), np.radians(longitude)
    half = np.sin((phi[:, np.newaxis] - phi) / 2) ** 2
    half += np.cos(phi[:, np.newaxis]) * np.cos(phi) * np.sin((theta[:, np.newaxis] - theta) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def select_sensors(
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    k: int,
    rng: np.random.Generator,
    scale_km: float | None = None,
) -> NDArray[np.int64]:
    """Draw k of the sensors at places `[n]` in degrees, far apart; returns their sorted indices, int64 `[k]`.

    Over `scale_km`, by default the mean distance, the similarity of two sensors falls by a factor of e.

    Raises
    ------
    InputError
        A coordinate is invalid, or there are fewer than k places.
    """
    places = np.column_stack([latitude, longitude])
    if not np.isfinite(places).all() or (np.abs(latitude) > 90).any() or (np.abs(longitude) > 360).any():
        raise InputError("Latitudes must be degrees in [-90, 90], longitudes in [-360, 360].")
    if not 1 <= k <= (n := len(np.unique(places, axis=0))):
        raise InputError(f"{k} sensors cannot be chosen among {n} places.")
    distance = haversine_km(latitude, longitude)
    apart = distance[np.triu_indices(len(distance), 1)]
    scale = scale_km or float(apart.mean()) if (apart > 0).any() else 1.0
    values, vectors = np.linalg.eigh(np.exp(-distance / scale))
    features = vectors * np.sqrt(np.maximum(values, 0))
    return sample_k_dpp(LowRankKernel.from_features(features), k, rng)
