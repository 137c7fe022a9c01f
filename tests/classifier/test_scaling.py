"""Standardising and whitening: scikit-learn's, as layers, without a copy of the features."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from l3embedding.classifier.scaling import Standardizer, Whitener, fit_scaling
from l3embedding.settings import ClassifierSettings
from l3embedding.utils.errors import InputError


@pytest.fixture
def features(rng) -> np.ndarray:
    """300 clips of 4 frames, so that they take several chunks; correlated, of unlike scales."""
    return (rng.normal(size=(300, 4, 5)) @ rng.normal(size=(5, 5)) * (1, 50, 1, 3, 9) + 7).astype(np.float32)


def _apply(scaling: Standardizer | Whitener, features: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(scaling(features))


def test_standardising_is_scikit_learns_over_all_frames(rng):
    features = (rng.normal(size=(5, 6, 3)) * (1, 50, 0) + (0, -300, 4)).astype(np.float32)
    standardized = _apply(Standardizer.fit(features), features)
    expected = StandardScaler().fit_transform(features.reshape(-1, 3).astype(np.float64)).reshape(features.shape)
    np.testing.assert_allclose(standardized, expected, atol=1e-5)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("components", [None, 3])
def test_whitening_is_scikit_learns_up_to_sign(features, standardize, components):
    settings = ClassifierSettings(standardize=standardize, pca=True, pca_components=components)
    whitened = _apply(fit_scaling(features, settings), features).reshape(300 * 4, -1)
    frames = features.reshape(-1, 5).astype(np.float64)
    frames = StandardScaler().fit_transform(frames) if standardize else frames
    expected = PCA(components, whiten=True).fit_transform(frames)
    np.testing.assert_allclose(np.abs(whitened), np.abs(expected), atol=1e-3)


def test_half_precision_gives_the_same_scaling_as_single(features):
    single, half = (Standardizer.fit(each) for each in (features, features.astype(np.float16)))
    np.testing.assert_allclose(half.mean, single.mean, rtol=1e-3)
    np.testing.assert_allclose(half.scale, single.scale, rtol=1e-3)


def test_more_components_than_the_frames_span_are_an_error(features):
    features[..., 4] = 0
    assert Whitener.fit(features, None, Standardizer.fit(features)).kernel.shape == (5, 4)
    with pytest.raises(InputError, match="pca_components: 5 is more than the 4 of 5 dimensions"):
        Whitener.fit(features, 5, Standardizer.fit(features))


def test_there_is_no_scaling_unless_the_settings_ask_for_it(features):
    assert fit_scaling(features, ClassifierSettings(standardize=False)) is None
