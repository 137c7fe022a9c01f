"""The reduction phi, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from l3embedding.upstream.reduction import fit_pca, load_reduction
from l3embedding.utils.errors import InputError


@pytest.fixture
def embeddings(rng):
    mixed = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12))
    return (mixed + 1000).astype(np.float32)


def test_it_is_scikit_learns_scaler_and_pca_up_to_the_sign(embeddings):
    reduction = fit_pca([embeddings], 5)
    scaler = StandardScaler().fit(embeddings.astype(float))
    pca = PCA(5, svd_solver="full").fit(scaler.transform(embeddings.astype(float)))
    expected = pca.transform(scaler.transform(embeddings.astype(float)))
    signs = np.sign((pca.components_ * reduction.components).sum(axis=1))
    np.testing.assert_allclose(reduction.transform(embeddings), expected * signs, atol=2e-4)
    np.testing.assert_allclose(reduction.explained_variance, pca.explained_variance_, rtol=1e-8)
    np.testing.assert_allclose(reduction.explained_variance_ratio, pca.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(reduction.mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(reduction.scale, scaler.scale_, rtol=1e-8)


@given(cuts=st.sets(st.integers(1, 99), max_size=8))
def test_how_the_rows_are_cut_into_chunks_does_not_matter(cuts):
    rows = np.random.default_rng(0).normal(5, 2, (100, 6))
    rows[:, 1] += rows[:, 0]
    whole = fit_pca([rows], 3)
    parts = fit_pca(np.split(rows, sorted(cuts)), 3)
    np.testing.assert_allclose(parts.components, whole.components, atol=1e-9)
    np.testing.assert_allclose(parts.explained_variance, whole.explained_variance, rtol=1e-10)


def test_the_largest_entry_of_a_component_is_positive(embeddings):
    components = fit_pca([embeddings], 5).components
    assert (components[np.arange(5), np.abs(components).argmax(axis=1)] > 0).all()


def test_a_constant_feature_is_left_at_zero(embeddings):
    embeddings[:, 3] = 7.25
    reduction = fit_pca([embeddings], 4)
    assert reduction.scale[3] == 1
    np.testing.assert_allclose(reduction.components[:, 3], 0, atol=1e-9)


def test_the_reduced_sample_is_uncorrelated_and_its_variance_the_explained_one(embeddings):
    reduction = fit_pca([embeddings], 4)
    covariance = np.cov(reduction.transform(embeddings), rowvar=False)
    np.testing.assert_allclose(covariance, np.diag(reduction.explained_variance), atol=1e-3)


def test_what_was_saved_reduces_the_same(embeddings, tmp_path):
    reduction = fit_pca([embeddings], 4)
    reduction.save(tmp_path / "phi.h5")
    loaded = load_reduction(tmp_path / "phi.h5")
    np.testing.assert_array_equal(loaded.transform(embeddings), reduction.transform(embeddings))
    assert loaded.key == "pca_ndata=400_emb=4_kernel=linear"


def test_a_sample_that_cannot_carry_the_dimensions_is_refused_with_the_reason(rng):
    rows = rng.normal(size=(50, 6))
    with pytest.raises(InputError, match="needs more than 6 embeddings; it got 6"):
        fit_pca([rows[:6]], 6)
    with pytest.raises(InputError, match="cannot take 6 dimensions to 7"):
        fit_pca([rows], 7)
    flat = rows[:, :2] @ rng.normal(size=(2, 6))
    with pytest.raises(InputError, match="varies in 2 directions"):
        fit_pca([flat], 3)
    with pytest.raises(InputError, match="not finite"):
        fit_pca([np.full((10, 3), np.nan)], 2)
    with pytest.raises(InputError, match="no sample"):
        fit_pca([], 2)


def test_embeddings_of_another_teacher_and_other_files_are_refused(embeddings, tmp_path):
    with pytest.raises(InputError, match="12 dimensions, not 9"):
        fit_pca([embeddings], 4).transform(embeddings[:, :9])
    (tmp_path / "phi.h5").write_text("no")
    with pytest.raises(InputError, match=r"phi.h5 cannot be read as a reduction"):
        load_reduction(tmp_path / "phi.h5")
