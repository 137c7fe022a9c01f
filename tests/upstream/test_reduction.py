"""The reduction phi, against scikit-learn."""

from __future__ import annotations

import typing

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from l3embedding.settings import ReductionSettings
from l3embedding.upstream.reduction import MODES, fit_reduction, load_reduction
from l3embedding.upstream.reductions.pca import KERNELS, fit_pca
from l3embedding.utils.errors import InputError


@pytest.fixture
def embeddings(rng):
    mixed = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12))
    return (mixed + 1000).astype(np.float32)


def test_it_equals_scikit_learns_scaler_and_pca_up_to_the_sign(embeddings):
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
def test_chunking_does_not_matter(cuts):
    rows = np.random.default_rng(0).normal(5, 2, (100, 6))
    rows[:, 1] += rows[:, 0]
    whole = fit_pca([rows], 3)
    parts = fit_pca([rows[:0], *np.split(rows, sorted(cuts)), rows[:0]], 3)
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


def test_a_saved_phi_is_loaded_unchanged(embeddings, tmp_path):
    reduction = fit_pca([embeddings], 4)
    reduction.save(tmp_path / "phi.h5")
    loaded = load_reduction(tmp_path / "phi.h5")
    np.testing.assert_array_equal(loaded.transform(embeddings), reduction.transform(embeddings))
    assert loaded.key == "pca_ndata=400_emb=4_kernel=linear"


def test_too_small_a_sample_is_refused_with_the_reason(rng):
    rows = rng.normal(size=(50, 6))
    with pytest.raises(InputError, match="needs more than 6 embeddings; it got 6"):
        fit_pca([rows[:6]], 6)
    with pytest.raises(InputError, match="cannot reduce 6 dimensions to 7"):
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


def _words(setting):
    return set(typing.get_args(ReductionSettings.model_fields[setting].annotation))


def test_the_registries_hold_the_modes_and_kernels_of_the_settings():
    assert MODES.keys() | {"mse"} == _words("mode")
    assert KERNELS.keys() == _words("kernel")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "mse"}, "reduction.mode 'mse' is not one of pca, umap"),
        ({"mode": "ica"}, "reduction.mode 'ica' is not one of pca, umap"),
        ({"kernel": "cosine"}, "reduction.kernel 'cosine' is not one of linear, poly, rbf"),
    ],
)
def test_an_unknown_reduction_is_refused(embeddings, settings, message):
    with pytest.raises(InputError, match=message):
        fit_reduction([embeddings], 4, ReductionSettings.model_construct(**{"mode": "pca"} | settings), 0)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_a_file_that_does_not_name_its_mode_is_read(embeddings, tmp_path, kernel):
    phi = fit_reduction([embeddings], 4, ReductionSettings(kernel=kernel), 0)
    phi.save(tmp_path / "phi.h5")
    with h5py.File(tmp_path / "phi.h5", "r+") as file:
        assert file.attrs["mode"] == "pca"
        del file.attrs["mode"]
    np.testing.assert_array_equal(load_reduction(tmp_path / "phi.h5").transform(embeddings), phi.transform(embeddings))


def test_a_file_of_an_unknown_mode_is_refused(embeddings, tmp_path):
    fit_pca([embeddings], 4).save(tmp_path / "phi.h5")
    with h5py.File(tmp_path / "phi.h5", "r+") as file:
        file.attrs["mode"] = "os"
    with pytest.raises(InputError, match="'os' is not one of pca, umap"):
        load_reduction(tmp_path / "phi.h5")
