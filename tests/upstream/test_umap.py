"""UMAP as phi: it preserves neighbourhoods, is reproducible, and is loaded only when that is allowed."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from l3embedding.settings import ReductionSettings
from l3embedding.upstream.reduction import fit_reduction, load_reduction
from l3embedding.utils.errors import InputError

SETTINGS = ReductionSettings(mode="umap", n_neighbors=8)


@pytest.fixture(scope="module")
def clusters():
    """Six clusters on a plane within twelve dimensions, and their labels."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(6), 30)
    centres = rng.normal(0, 20, (6, 2))
    plane = centres[labels] + rng.normal(0, 1, (180, 2))
    return (plane @ rng.normal(size=(2, 12)) + 100).astype(np.float32), labels


@pytest.fixture(scope="module")
def reduction(clusters):
    return fit_reduction(np.split(clusters[0], 3), 3, SETTINGS, random_state=0)


def test_it_preserves_neighbourhoods_of_new_embeddings_too(clusters, reduction):
    embeddings, labels = clusters
    reduced = reduction.transform(embeddings)
    assert reduced.shape == (180, 3)
    assert reduced.dtype == np.float32
    nearest = NearestNeighbors(n_neighbors=6).fit(reduced).kneighbors(return_distance=False)
    assert (labels[nearest] == labels[:, np.newaxis]).mean() > 0.95
    new = reduction.transform(embeddings[::10] + np.float32(0.01))
    nearest = NearestNeighbors(n_neighbors=3).fit(reduced).kneighbors(new, return_distance=False)
    assert (labels[nearest] == labels[::10, np.newaxis]).mean() > 0.95


def test_the_same_seed_gives_the_same_result(clusters, reduction):
    again = fit_reduction([clusters[0]], 3, SETTINGS, random_state=0)
    np.testing.assert_array_equal(again.estimator.embedding_, reduction.estimator.embedding_)


def test_a_saved_umap_is_loaded_only_when_that_is_allowed_and_only_undamaged(clusters, reduction, tmp_path):
    path = tmp_path / "phi.h5"
    reduction.save(path)
    with pytest.raises(InputError, match="set reduction.allow_pickle"):
        load_reduction(path)
    loaded = load_reduction(path, allow_pickle=True)
    assert loaded.key == "umap_ndata=180_emb=3_k=8_metric=euclidean_dist=0.1"
    np.testing.assert_array_equal(loaded.transform(clusters[0][:20]), reduction.transform(clusters[0][:20]))
    with h5py.File(path, "r+") as file:
        file["estimator"][100] ^= 1
    with pytest.raises(InputError, match="is damaged"):
        load_reduction(path, allow_pickle=True)


def test_too_few_embeddings_and_bad_ones_are_refused_before_the_fit():
    with pytest.raises(InputError, match="needs at least 12 embeddings; it got 9"):
        fit_reduction([np.zeros((9, 20), np.float32)], 10, SETTINGS, 0)
    with pytest.raises(InputError, match="not finite"):
        fit_reduction([np.full((50, 20), np.nan, np.float32)], 10, SETTINGS, 0)
