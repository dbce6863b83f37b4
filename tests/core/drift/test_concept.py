"""Links of features with the outcome: what a changed concept looks like, and an unchanged one."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.drift.profile_signals import GROUPS, prepare_links
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import Profile, measure_profile
from tests.support.simulated_models import upper_bound

THRESHOLDS = {"correlation_threshold": 0.1, "information_threshold": 0.15}


def frame_of(n=20_000, seed=0, *, turn=1.0, classes=2):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "idle": rng.normal(size=n),
            "c": rng.choice(["a", "b", "d"], size=n, p=[0.5, 0.3, 0.2]),
        }
    )
    strength = turn * frame["x"] + 0.8 * (frame["c"] == "a") + rng.normal(size=n)
    frame.loc[rng.random(n) < 0.05, "idle"] = np.nan
    y = strength if classes == 0 else pd.qcut(strength, classes, labels=False).map("abcdefgh".__getitem__)
    return frame.assign(**{"@outcome": y})


def grid_of(frame):
    categorical = {"c", "@outcome"} if frame["@outcome"].dtype == object else {"c"}
    return make_grid(frame, categorical=frozenset(categorical), outcome="@outcome")


def links_of(frame):
    reference = measure_profile(frame, grid_of(frame))
    return reference, prepare_links(reference, **THRESHOLDS)


def read(links, profile):
    found = links.measure(profile)
    return {(key.column, key.name): place for place, key in enumerate(found.keys)}, found


@pytest.mark.parametrize("classes", [2, 3, 0])
def test_every_feature_has_its_information_and_its_correlation(classes):
    reference, links = links_of(frame_of(classes=classes))
    at, found = read(links, reference)
    assert {(name, what) for name in ("x", "idle", "c") for what in ("information", "correlation")} == set(at)
    assert np.isfinite(found.values).all()
    assert (found.errors > 0).all()
    assert abs(found.values[at["x", "correlation"]]) > 0.3
    assert found.values[at["c", "information"]] > 0.01
    assert abs(found.values[at["idle", "information"]]) < 0.002


def test_a_link_that_turns_round_is_seen_by_correlation_and_not_by_information():
    frame = frame_of()
    reference, links = links_of(frame)
    at, before = read(links, reference)
    turned = measure_profile(frame_of(n=2000, seed=1, turn=-1.0), reference.grid)
    _, after = read(links, turned)
    moved = after.values - before.values
    assert abs(moved[at["x", "correlation"]]) > 8 * after.errors[at["x", "correlation"]]
    assert abs(moved[at["x", "information"]]) < 3 * after.errors[at["x", "information"]]
    assert abs(moved[at["idle", "correlation"]]) < 3 * after.errors[at["idle", "correlation"]]


def test_a_link_that_is_lost_is_seen_by_both():
    reference, links = links_of(frame_of())
    at, before = read(links, reference)
    _, after = read(links, measure_profile(frame_of(n=2000, seed=1, turn=0.0), reference.grid))
    for what in ("correlation", "information"):
        place = at["x", what]
        assert before.values[place] - after.values[place] > 5 * after.errors[place]
        assert before.values[place] - after.values[place] > links.floors[place]


def test_missing_values_inform_and_do_not_correlate():
    frame = frame_of()
    frame.loc[(frame["@outcome"] == "b") & (frame["idle"] > 0), "idle"] = np.nan
    reference, links = links_of(frame)
    at, found = read(links, reference)
    assert found.values[at["idle", "information"]] > 0.05
    assert np.isfinite(found.values[at["idle", "correlation"]])


@pytest.mark.parametrize("classes", [2, 0])
def test_windows_of_an_unchanged_concept_lie_within_their_errors(classes):
    reference, links = links_of(frame_of(n=60_000, classes=classes))
    whole = links.measure(reference)
    windows = [
        links.measure(measure_profile(frame_of(n=500, seed=seed, classes=classes), reference.grid))
        for seed in range(1, 121)
    ]
    z = np.array([(one.values - whole.values) / one.errors for one in windows])
    correlation = np.array([key.name == "correlation" for key in links.keys])
    outside = int((np.abs(z[:, correlation]) > 1.96).sum())
    # 5 % of 360 correlations are nominal; more than 10 % would be an error that is too small
    assert outside <= 36
    assert upper_bound(outside, int(correlation.sum()) * 120) < 0.14
    assert 0.6 < z[:, ~correlation].std() < 1.5


def test_a_window_without_labels_or_rows_is_unknown():
    reference, links = links_of(frame_of())
    blank = frame_of(n=300).assign(**{"@outcome": None})
    for profile in (
        None,
        measure_profile(blank, reference.grid),
        Profile(
            grid=reference.grid,
            columns={
                name: measure_profile(blank.iloc[:0], reference.grid).columns[name]
                for name in reference.columns
            },
        ),
    ):
        found = links.measure(profile)
        assert links.keys == found.keys
        assert np.isnan(found.values).all()


def test_a_window_of_one_class_has_no_links():
    reference, links = links_of(frame_of())
    one = frame_of(n=300).assign(**{"@outcome": "a"})
    assert np.isnan(links.measure(measure_profile(one, reference.grid)).values).all()


def test_floors_are_the_thresholds_in_the_signals_own_units():
    reference, links = links_of(frame_of())
    at, found = read(links, reference)
    assert 0.1 == links.floors[at["x", "correlation"]]
    assert 0.15 * found.values[at["x", "information"]] == pytest.approx(links.floors[at["x", "information"]])
    # -ln(1 - .1²) / 2: what a normal pair of correlation .1 would have
    assert 0.00502517 == pytest.approx(links.floors[at["idle", "information"]], abs=1e-8)


def test_no_table_is_wider_than_ten_groups():
    frame = frame_of(classes=8).assign(c=np.random.default_rng(0).choice(list("abcdefghijklmnop"), 20_000))
    reference, links = links_of(frame)
    assert max(np.asarray(column.joint).shape for column in reference.columns.values()) <= (GROUPS, GROUPS)
    assert np.isfinite(links.measure(reference).values).all()
