"""The L3 networks."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from l3embedding.models.networks import (
    EMBEDDING_LAYER,
    HEADS,
    embedding_model,
    l3_audio_network,
    model_size,
    split_embedding_model,
    student_network,
)
from l3embedding.models.registry import architecture_of
from l3embedding.models.representation import OPENL3_REPRESENTATIONS, student_representation
from l3embedding.settings import StudentSettings
from l3embedding.utils.errors import InputError


@pytest.mark.parametrize(
    ("dimension", "parameters", "megabytes", "activation", "gflop"),
    [
        (512, 4_691_908, 18.77, 0.819, 1.27),
        (256, 1_175_524, 4.70, 0.410, 0.319),
        (128, 584_420, 2.34, 0.410, 0.263),
        (64, 399_460, 1.60, 0.410, 0.245),
    ],
)
@pytest.mark.parametrize("head", ["relu", "linear"])
def test_the_students_have_the_papers_sizes(dimension, parameters, megabytes, activation, gflop, head):
    network = student_network(StudentSettings(dim=dimension, head=head))
    size = model_size(network)
    assert network.output_shape == (None, dimension)
    assert size.parameters == parameters
    assert size.size_mb == pytest.approx(megabytes, abs=0.005)
    assert size.activation_mb == pytest.approx(activation, abs=0.0005)
    assert size.gflop == pytest.approx(gflop, rel=0.003)


@pytest.mark.parametrize(("name", "pool"), [("mel256", (8, 8)), ("mel128", (4, 8)), ("linear", (8, 8))])
def test_openl3_pools_to_512_or_to_a_grid_of_6144(name, pool):
    shape = OPENL3_REPRESENTATIONS[name].image_shape
    assert l3_audio_network(shape).output_shape == (None, 512)
    grid = l3_audio_network(shape, embedding_size=6144)
    assert grid.output_shape == (None, 6144)
    assert grid.get_layer("pool").pool_size == pool


def test_the_maximum_over_the_grid_is_the_512_d_embedding(rng):
    shape = OPENL3_REPRESENTATIONS["mel128"].image_shape
    small, large = l3_audio_network(shape), l3_audio_network(shape, embedding_size=6144)
    large.set_weights(small.get_weights())
    image = rng.normal(-40, 10, (1, *shape)).astype(np.float32)
    grid = large.predict(image, verbose=0).reshape(4, 3, 512)
    np.testing.assert_allclose(grid.max(axis=(0, 1)), small.predict(image, verbose=0)[0], atol=1e-5)


def test_the_heads_are_openl3s_and_the_settings():
    assert set(HEADS) == {"openl3", *StudentSettings.model_fields["head"].annotation.__args__}
    with pytest.raises(InputError, match="'dense' is not one of openl3, relu, linear"):
        l3_audio_network((64, 50, 1), head="dense")


@pytest.mark.parametrize(
    "name", ["openl3_audio_linear_env", "edgel3_sea_ust_audio_emb_128", "edgel3_kd_audio_sparsity_87.0"]
)
def test_parameters_are_counted_without_building_the_network(name):
    architecture = architecture_of(name)
    assert architecture.parameters == architecture.build().count_params()


def test_the_heads_differ_in_whether_they_reach_below_zero(rng):
    image = rng.normal(-40, 10, (8, 64, 50, 1)).astype(np.float32)
    for head, reaches_below_zero in (("relu", False), ("linear", True), ("openl3", True)):
        network = l3_audio_network((64, 50, 1), (2, 2, 2, 64), head)
        # Shifted, so that a map's maximum may be negative.
        bias = network.get_layer(EMBEDDING_LAYER).bias
        bias.assign(rng.normal(0, 100, 64))
        assert (network.predict(image, verbose=0).min() < 0) == reaches_below_zero, head


def test_an_embedding_size_that_the_network_does_not_have_is_refused():
    with pytest.raises(InputError, match="embeds in 512 or 6144 dimensions, not 256"):
        l3_audio_network((256, 199, 1), embedding_size=256)
    with pytest.raises(InputError, match="embeds in 4 dimensions, not 512"):
        l3_audio_network((64, 50, 1), (2, 2, 2, 4), "relu", embedding_size=512)


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(InputError, match="too small for 4 blocks"):
        l3_audio_network((64, 7, 1))


def test_a_saved_student_is_one_file_that_describes_itself(tmp_path, rng):
    representation = student_representation(StudentSettings(asr=4000, num_mels=16, num_dft=256, hop_len=100))
    network = l3_audio_network(representation.image_shape, (2, 2, 2, 4), "linear")
    embedding_model(representation, network).save(tmp_path / "student.keras")
    stored, loaded = split_embedding_model(keras.models.load_model(tmp_path / "student.keras"))
    assert stored == representation
    image = rng.normal(-40, 10, (2, *representation.image_shape)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(image, verbose=0), network.predict(image, verbose=0))
    with pytest.raises(InputError, match="not a front end followed by a network"):
        split_embedding_model(network)
