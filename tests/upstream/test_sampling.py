"""Samples of a sensor's embeddings."""

from __future__ import annotations

import typing
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3embedding.settings import SampleSettings
from l3embedding.upstream.diagnostics import diagnose
from l3embedding.upstream.sampling import DRAWS, SAMPLINGS, calendar_groups, draw_sample, share_out
from l3embedding.utils.errors import InputError


@given(st.integers(0, 200), st.lists(st.integers(0, 60), max_size=12))
def test_shares_add_up_and_are_as_equal_as_sizes_allow(total, sizes):
    shares = share_out(total, sizes)
    assert sum(shares) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
    for share, size in zip(shares, sizes, strict=True):
        if share < size:
            assert share >= max(shares) - 1, "a group that has more contributes as much as any other"


def _at(*when):
    return datetime(*when, tzinfo=ZoneInfo("America/New_York")).timestamp()


def test_days_begin_at_local_midnight_on_either_side_of_daylight_saving():
    times = np.array([_at(2019, 3, 9, 23, 59), _at(2019, 3, 10, 0, 1), _at(2019, 3, 10, 23, 59), np.nan])
    groups = calendar_groups(times, "day", "America/New_York")
    assert sorted(group.tolist() for group in groups) == [[0], [1, 2], [3]]


def test_weeks_begin_on_monday_and_months_on_the_first():
    times = np.array([_at(2019, 3, 31, 12), _at(2019, 4, 1, 12), _at(2019, 4, 30, 12), _at(2019, 3, 25, 12)])
    weeks = calendar_groups(times, "week", "America/New_York")
    assert sorted(sorted(group.tolist()) for group in weeks) == [[0, 3], [1], [2]]
    months = calendar_groups(times, "month", "America/New_York")
    assert sorted(sorted(group.tolist()) for group in months) == [[0, 3], [1, 2]]


def _draw(embeddings, relevance, sampling, size, rng, groups=None):
    groups = groups or [np.arange(len(embeddings))]
    return draw_sample(lambda rows: embeddings[rows], relevance, groups, SampleSettings(method=sampling), size, rng)


@pytest.mark.parametrize("sampling", ["random", "spl", "dpp_div", "dpp"])
def test_a_sample_has_the_requested_size_and_no_frame_twice(rng, sampling):
    embeddings = rng.normal(size=(100, 8)).astype(np.float32)
    relevance = rng.uniform(0.01, 1, 100).astype(np.float32)
    groups = [np.arange(0, 90), np.arange(90, 97), np.arange(97, 100)]
    for size in (5, 40, 100, 1000):
        rows = _draw(embeddings, relevance, sampling, size, rng, groups)
        assert len(rows) == len(set(rows.tolist())) == min(size, 100)


@pytest.mark.parametrize("sampling", ["random", "spl", "dpp_div", "dpp"])
def test_the_same_seed_draws_the_same_sample(rng, sampling):
    embeddings = rng.normal(size=(60, 8)).astype(np.float32)
    relevance = rng.uniform(0.01, 1, 60).astype(np.float32)
    one, other = (_draw(embeddings, relevance, sampling, 6, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def _clusters(rng):
    """95 frames of hum that are all alike, and 5 events that are not, the last of them the loudest."""
    hum = np.eye(8)[[0] * 95] + 0.01 * rng.normal(size=(95, 8))
    return np.concatenate([hum, np.eye(8)[1:6]]).astype(np.float32)


def test_diversity_finds_rare_frames(rng):
    embeddings, flat = _clusters(rng), np.ones(100, np.float32)
    rare = {
        sampling: np.mean([(_draw(embeddings, flat, sampling, 6, rng) >= 95).sum() for _ in range(50)])
        for sampling in ("random", "dpp_div")
    }
    assert rare["random"] < 1
    assert rare["dpp_div"] > 4


def test_relevance_finds_loud_frames(rng):
    embeddings = rng.normal(size=(200, 32)).astype(np.float32)
    relevance = np.linspace(0.005, 1, 200).astype(np.float32)
    mean = {
        sampling: np.mean([relevance[_draw(embeddings, relevance, sampling, 10, rng)].mean() for _ in range(40)])
        for sampling in ("random", "dpp_div", "spl", "dpp")
    }
    assert mean["random"] == pytest.approx(0.5, abs=0.06)
    assert mean["dpp_div"] == pytest.approx(0.5, abs=0.06)
    assert mean["spl"] > 0.6
    assert mean["dpp"] > 0.6


def test_a_share_above_the_rank_is_drawn_with_a_ridge_which_is_logged(rng, caplog):
    caplog.set_level("INFO")
    embeddings = np.concatenate([rng.normal(size=(50, 3)), np.zeros((10, 3))]).astype(np.float32)
    rows = _draw(embeddings, np.ones(60, np.float32), "dpp", 20, rng)
    assert len(rows) == 20
    assert "more than the rank of the embeddings, 3" in caplog.text


@pytest.mark.parametrize("kernel", ["unit", "paper"])
@pytest.mark.parametrize("draw", ["exact", "mcmc", "map"])
def test_every_kernel_and_draw_gives_the_requested_size_even_beyond_the_rank(rng, kernel, draw):
    embeddings = rng.normal(size=(60, 5)).astype(np.float32)
    relevance = rng.uniform(0.1, 1, 60).astype(np.float32)
    for size in (4, 30):
        rows = draw_sample(
            lambda rows: embeddings[rows],
            relevance,
            [np.arange(60)],
            SampleSettings(kernel=kernel, draw=draw),
            size,
            rng,
        )
        assert len(set(rows.tolist())) == size


def _clumped(rng):
    """Most frames alike, a few of their own kind."""
    centres = np.eye(8, dtype=np.float32)
    kinds = np.where(rng.random(2000) < 0.98, 0, rng.integers(1, 8, 2000))
    return centres[kinds] + rng.normal(0, 0.02, (2000, 8)).astype(np.float32)


def test_the_diagnostics_show_that_exact_draws_are_diverse_and_the_authors_chain_hardly_is(rng):
    embeddings, relevance = _clumped(rng), rng.uniform(0, 1, 2000).astype(np.float32)

    def diagnosed(**settings):
        sample = SampleSettings(**settings)
        rows = draw_sample(lambda rows: embeddings[rows], relevance, [np.arange(2000)], sample, 8, rng)
        return diagnose(embeddings, relevance, embeddings[rows], relevance[rows], rng)

    exact, chain = diagnosed(method="dpp_div"), diagnosed(method="dpp_div", kernel="paper", draw="mcmc")
    volume = exact["log_volume"]
    assert volume["sample"] > volume["random_mean"] + 3 * volume["random_std"]
    assert exact["coverage"]["sample"] > exact["coverage"]["random_mean"]
    assert chain["log_volume"]["sample"] < volume["sample"] - 3 * volume["random_std"]
    assert diagnosed(method="spl")["mean_relevance"]["sample"] > 0.5


def test_the_registries_hold_the_methods_and_draws_of_the_settings():
    for registry, setting in ((SAMPLINGS, "method"), (DRAWS, "draw")):
        assert registry.keys() == set(typing.get_args(SampleSettings.model_fields[setting].annotation))


@pytest.mark.parametrize("setting", ["method", "draw", "kernel"])
def test_an_unknown_name_is_refused_and_the_known_ones_are_listed(rng, setting):
    settings = SampleSettings().model_copy(update={setting: "magic"})
    with pytest.raises(InputError, match=f"sample.{setting} 'magic' is not one of "):
        draw_sample(lambda rows: np.ones((len(rows), 3), np.float32), np.ones(9), [np.arange(9)], settings, 2, rng)


def test_a_random_sample_is_diagnosed_as_one(rng):
    embeddings, relevance = _clumped(rng), rng.uniform(0, 1, 2000).astype(np.float32)
    measured = diagnose(embeddings, relevance, embeddings[:200], relevance[:200], rng)
    for name, values in measured.items():
        assert abs(values["sample"] - values["random_mean"]) < 6 * values["random_std"], name


def test_frames_of_equal_level_are_equally_relevant(rng):
    from l3embedding.data.loudness import relevance

    ranks = relevance(np.full(100, 55.0, np.float32), np.arange(100.0))
    assert (ranks == ranks[0]).all()
    assert 0 < ranks[0] <= 1
