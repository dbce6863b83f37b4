"""The search for a policy: what is tried, on which part of history, and the lines to paste."""

from datetime import timedelta

import numpy as np
import pytest
import yaml

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.replay.search import (
    SearchResult,
    paste_yaml,
    search_space,
    span_text,
    split_history,
    trial_specs,
    window_length,
)
from evergreen.tasks.core.replay.setup import begin_replay
from tests.support.replays import begin_small, history_frame, place_of, replay_all, replay_config

DAY = timedelta(days=1)


def space(method="random", trials=8, seed=0, config=None):
    return search_space(
        config or replay_config(),
        method=method,
        trials=trials,
        rng=np.random.default_rng(seed),
        window=2 * DAY,
    )


@pytest.mark.parametrize("method", ["grid", "random"])
def test_as_many_settings_as_asked_for_all_of_them_different(method):
    found = space(method, trials=10)
    assert 10 == len(found)
    assert all(found.count(one) == 1 for one in found)


def test_spans_are_whole_windows_and_the_cooldown_is_not_longer_than_the_date():
    for one in space(trials=20):
        rules = one["retraining"]
        every, cooldown = (int(rules[name].removesuffix("d")) for name in ("every", "cooldown"))
        assert (0, 0) == (every % 2, cooldown % 2)
        assert cooldown <= every


def test_the_same_seed_tries_the_same():
    assert space(seed=3) == space(seed=3) != space(seed=4)


def test_every_setting_is_a_valid_configuration():
    specs = trial_specs(space(trials=30), replay_config())
    assert ["trial-1", "trial-30"] == [specs[0].name, specs[-1].name]
    assert {"governed"} == {spec.mode for spec in specs}


def test_weights_are_tried_only_where_every_candidate_takes_them():
    config = replay_config(
        candidates=({"name": "near", "estimator": "sklearn.neighbors.KNeighborsClassifier"},)
    )
    assert {"none"} == {one["retraining"]["weighted"] for one in space(trials=20, config=config)}
    assert {"none", "recency", "similarity"} == {one["retraining"]["weighted"] for one in space(trials=30)}


@pytest.mark.parametrize(("method", "trials"), [("greedy", 3), ("grid", 0)])
def test_a_search_that_cannot_be_is_refused(method, trials):
    with pytest.raises(InputError):
        space(method, trials=trials)


def test_what_is_pasted_reads_back_as_what_was_tried():
    for one in space(trials=10):
        assert one == yaml.safe_load(paste_yaml(one))


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (2 * DAY, "2d"),
        (timedelta(hours=36), "36h"),
        (timedelta(minutes=5), "5m"),
        (timedelta(seconds=1), "1m"),
    ],
)
def test_spans_are_written_as_a_configuration_reads_them(length, text):
    assert text == span_text(length)


def test_a_search_sees_the_first_part_and_is_confirmed_on_the_other():
    config = replay_config()
    beginning = begin_small(history_frame(days=76, flip=36), config, start=place_of(26))
    assert 2 * DAY == window_length(beginning)
    part, start = split_history(beginning.history, beginning, share=0.6)
    assert part.positions[-1] <= start
    overlays = space("grid", trials=3)
    specs = trial_specs(overlays, config)
    first = begin_replay(part, config, start=beginning.start.until)
    assert first.steps == beginning.steps[: len(first.steps)]
    tried = replay_all(first, specs, timer=lambda: 0.0)
    chosen = [spec for spec in specs if spec.name in tried.front()]
    later = begin_replay(beginning.history, config, start=start)
    assert later.steps[0].window.start == first.steps[-1].window.end
    confirmed = replay_all(later, chosen, timer=lambda: 0.0)
    found = SearchResult(
        overlays={spec.name: one for spec, one in zip(specs, overlays, strict=True)},
        tried=tried,
        confirmed=confirmed,
        start=start,
        clock="timestamp",
    ).to_dict()
    assert list(tried.front()) == [one["policy"] for one in found["chosen"]]
    assert all(one["unseen_part"]["mean"] is not None and one["yaml"] for one in found["chosen"])
    assert 3 == len(found["trials"])


def test_too_short_a_history_is_not_divided():
    beginning = begin_small(history_frame(days=29), start=place_of(26))
    with pytest.raises(InputError, match="cannot be divided"):
        split_history(beginning.history, beginning)
