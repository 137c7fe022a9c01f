"""The recipe of SONYC-UST: targets, held-out sensors, predictions."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from l3embedding.classifier.network import PROXIMITY, SENSOR
from l3embedding.classifier.tagging import (
    auxiliary_targets,
    choose_held_out,
    predicted_columns,
    prior_prediction,
    tag_clips,
    tag_targets,
    with_all_tags,
)
from l3embedding.data.clip_embeddings import StackedEmbeddings
from l3embedding.data.sonyc_ust import Category, Taxonomy
from l3embedding.settings import ClassifierSettings
from l3embedding.utils.errors import InputError

TAXONOMY = Taxonomy((Category(1, "engine", {"1": "small", "2": "large", "X": "?"}), Category(2, "dog", {"1": "bark"})))
FINE = ["1-1_small", "1-2_large", "2-1_bark"]


@pytest.fixture
def annotations() -> pd.DataFrame:
    """Four training clips of two sensors, one annotator each, and a second for clip a."""
    rows = [
        # clip, sensor, small, large, X, bark, how near the bark is
        ("a.wav", 1, 1, 0, 0, 0, "-1"),
        ("a.wav", 1, 0, 0, 1, 1, "near"),
        ("b.wav", 1, 0, 1, 0, -1, "-1"),
        ("c.wav", 2, 0, 0, 0, 1, "far"),
        ("d.wav", 2, 1, 0, 0, 0, "-1"),
    ]
    return pd.DataFrame(
        {
            "split": "train",
            "audio_filename": clip,
            "sensor_id": sensor,
            "annotator_id": index + 1,
            "1-1_small": small,
            "1-2_large": large,
            "1-X_?": uncertain,
            "1_engine": max(small, large, uncertain),
            "2-1_bark": bark,
            "2-1_bark_proximity": near,
            "2_dog": bark,
        }
        for index, (clip, sensor, small, large, uncertain, bark, near) in enumerate(rows)
    )


def test_coarse_targets_are_the_minority_vote_and_unlabelled_tags_are_masked(annotations, caplog):
    with caplog.at_level(logging.WARNING):
        targets = tag_targets(annotations, TAXONOMY, ClassifierSettings())
    assert targets.to_numpy().tolist() == [[1, 1], [1, -1], [0, 1], [1, 0]]
    assert "1 labels of the split train are -1 for all annotators" in caplog.text


def test_fine_targets_mask_a_category_whose_uncertain_tag_is_present(annotations):
    targets = tag_targets(annotations, TAXONOMY, ClassifierSettings(label_mode="fine"))
    assert list(targets) == FINE == predicted_columns(TAXONOMY, "fine")
    assert targets.to_numpy().tolist() == [[-1, -1, 1], [0, 1, -1], [0, 0, 1], [1, 0, 0]]


def test_a_tag_that_no_training_clip_has_is_named(annotations, caplog):
    with caplog.at_level(logging.WARNING):
        tag_targets(annotations.assign(**{"2_dog": 0}), TAXONOMY, ClassifierSettings())
    assert "no clip of the split train has 2_dog: it cannot be learned" in caplog.text


def test_auxiliary_targets_are_the_sensor_and_the_majority_of_near_and_far(annotations):
    clips = pd.Index(["a.wav", "b.wav", "c.wav"])
    targets = auxiliary_targets(annotations, TAXONOMY, clips, ClassifierSettings(sensor_factor=1, proximity_factor=1))
    assert targets[SENSOR].tolist() == [[1, 0], [1, 0], [0, 1]]
    assert targets[PROXIMITY][:, 2].tolist() == [[1, 0], [0, 0], [0, 1]]
    assert not targets[PROXIMITY][:, :2].any()
    assert auxiliary_targets(annotations, TAXONOMY, clips, ClassifierSettings()) == {}
    with pytest.raises(InputError, match="no column that ends in _proximity"):
        plain = annotations.drop(columns="2-1_bark_proximity")
        auxiliary_targets(plain, TAXONOMY, clips, ClassifierSettings(proximity_factor=1))


def test_a_coarse_tag_is_as_likely_as_the_likeliest_of_its_fine_ones():
    fine = pd.DataFrame([[0.2, 0.7, 0.4]], ["a.wav"], FINE)
    predicted = with_all_tags(fine, TAXONOMY).loc["a.wav"].to_dict()
    assert predicted == dict(zip(TAXONOMY.columns, [0.2, 0.7, 0.0, 0.7, 0.4, 0.4], strict=True))
    coarse = pd.DataFrame([[0.2, 0.7]], ["a.wav"], TAXONOMY.coarse_columns)
    assert with_all_tags(coarse, TAXONOMY) is coarse


def test_the_prior_is_each_classs_frequency_where_it_is_known():
    targets = np.array([[1, 0], [1, -1], [0, 0], [1, 1]], np.float32)
    np.testing.assert_allclose(prior_prediction(targets, 3), [[0.75, 1 / 3]] * 3)


def test_whole_sensors_are_held_out_or_single_clips_of_one(rng):
    sensors = np.repeat([3, 4, 5, 6], 10)
    held_out = choose_held_out(sensors, rng)
    assert all(len(set(held_out[sensors == sensor])) == 1 for sensor in (3, 4, 5, 6))
    assert 0.15 <= held_out.mean() <= 0.4
    assert choose_held_out(np.ones(40), rng).sum() == 6


def test_features_of_two_models_are_an_error(annotations, rng):
    targets = tag_targets(annotations, TAXONOMY, ClassifierSettings())
    training, evaluated = (StackedEmbeddings(rng.normal(size=(4, 3, size)), list(targets.index), []) for size in (5, 6))
    with pytest.raises(InputError, match=r"shape \(5,\), those of the evaluated clips \(6,\); embed both alike"):
        tag_clips(annotations, TAXONOMY, targets, training, evaluated, ClassifierSettings(), 0)


def test_the_classifier_learns_the_tags_that_separate_the_embeddings(annotations, rng):
    many = pd.concat(
        [annotations.assign(audio_filename=f"{index}" + annotations["audio_filename"]) for index in range(30)]
    )
    many["sensor_id"] = np.arange(len(many)) // 10
    settings = ClassifierSettings(
        label_mode="fine",
        oversample="mlsmote",
        epochs=40,
        patience=40,
        learning_rate=1e-2,
        batch_size=30,
        hidden_layer_size=16,
    )
    targets = tag_targets(many, TAXONOMY, settings)
    # Each frame identifies which of the four clips it is from.
    kind = np.array([ord(clip[-5]) - ord("a") for clip in targets.index])
    features = (np.eye(4)[kind][:, np.newaxis] + rng.normal(0, 0.1, (120, 3, 4))).astype(np.float16)
    both = StackedEmbeddings(features, list(targets.index), [])
    tagged = tag_clips(many, TAXONOMY, targets, both, both, settings, 0)
    expected = targets.to_numpy()
    predicted = tagged.predictions[FINE].to_numpy() > 0.5
    assert (predicted == expected)[expected >= 0].mean() > 0.97
    assert tagged.facts["train_clips"] == tagged.facts["evaluated_clips"] == 120
    assert tagged.facts["feature_dtype"] == "float16"
    assert tagged.predictions.index.name == "audio_filename"
    assert list(tagged.predictions) == TAXONOMY.columns
