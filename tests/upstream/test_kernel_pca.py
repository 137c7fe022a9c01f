"""Kernel PCA as phi, against scikit-learn."""

from __future__ import annotations

import os

import numpy as np
import pytest
from sklearn.decomposition import KernelPCA
from sklearn.preprocessing import StandardScaler

from l3embedding.upstream.reduction import load_reduction
from l3embedding.upstream.reductions.pca import fit_kernel_pca
from l3embedding.utils.errors import InputError


@pytest.fixture
def embeddings(rng):
    return (rng.normal(size=(120, 4)) @ rng.normal(size=(4, 10)) + 5).astype(np.float32)


@pytest.mark.parametrize("kernel", ["poly", "rbf"])
def test_it_equals_scikit_learns_up_to_the_sign_on_new_embeddings_too(embeddings, kernel, tmp_path):
    fitted, new = embeddings[:100], embeddings[100:]
    reduction = fit_kernel_pca(np.split(fitted, 4), 5, kernel, random_state=0)
    scaler = StandardScaler().fit(fitted.astype(float))
    peer = KernelPCA(5, kernel=kernel).fit(scaler.transform(fitted.astype(float)))
    expected = peer.transform(scaler.transform(new.astype(float)))
    signs = np.sign((peer.transform(scaler.transform(fitted.astype(float))) * reduction.transform(fitted)).sum(axis=0))
    np.testing.assert_allclose(reduction.transform(new), expected * signs, rtol=1e-3, atol=1e-4)
    reduction.save(tmp_path / "phi.h5")
    loaded = load_reduction(tmp_path / "phi.h5")
    assert loaded.key == f"pca_ndata=100_emb=5_kernel={kernel}"
    np.testing.assert_array_equal(loaded.transform(new), reduction.transform(new))


def test_a_kernel_matrix_beyond_memory_is_refused_with_the_size_that_fits(embeddings, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1, "SC_AVPHYS_PAGES": 100_000}[name])
    with pytest.raises(InputError, match=r"needs 0.0 GB, and 0.0 GB are free: set sample.size to at most 64"):
        fit_kernel_pca([embeddings], 5, "rbf", 0)


def test_bad_samples_are_refused():
    with pytest.raises(InputError, match="needs more than 5 embeddings"):
        fit_kernel_pca([np.zeros((4, 6), np.float32)], 5, "rbf", 0)
    with pytest.raises(InputError, match="not finite"):
        fit_kernel_pca([np.full((9, 6), np.inf, np.float32)], 5, "rbf", 0)
