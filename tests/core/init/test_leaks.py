"""Leaks are found by what columns hold; strong but fair features are left alone."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from evergreen.tasks.core.init.leak_features import LeakSearchData, View, concordance, measure_error
from evergreen.tasks.core.init.leak_sums import CorrelationTable
from evergreen.tasks.core.init.leaks import lag
from evergreen.tasks.core.init.proposal import propose, survey
from evergreen.tasks.core.stats.auc import average_precision, roc_auc
from tests.support.generated_data import LEAKS, PROBLEMS, fair_set, plant, races

CASES = [(problem, leak) for problem in PROBLEMS for leak in LEAKS[problem]]


def accused(frame, *, target="y", time="at", group=None):
    """Return names that are excluded or warned about as leaks or useless, and the suspects by name."""
    material, _ = survey(
        frame, target=target, time=time if time in frame else None, group=group, rng=np.random.default_rng(0)
    )
    suspects = {suspect.column: suspect for suspect in material.suspects}
    return set(propose(material).exclude) | set(suspects), suspects


@pytest.mark.parametrize(("problem", "leak"), CASES)
def test_a_planted_leak_is_found_and_nothing_else_accused(problem, leak):
    frame, planted = plant(fair_set(1, problem=problem), leak)

    assert accused(frame)[0] == planted


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("leak", ["noisy copy", "two parts", "filled"])
def test_a_leak_is_found_without_a_clock(problem, leak):
    frame, planted = plant(fair_set(2, problem=problem, timed=False), leak)

    assert accused(frame)[0] == planted


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("memory", [0.0, 0.9, 0.99])
def test_strong_features_lags_and_rolling_means_are_not_accused(problem, memory):
    assert accused(fair_set(3, problem=problem, memory=memory))[0] == set()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_leaks_are_found_under_any_name_and_in_any_order(problem):
    frame, planted = plant(fair_set(4, problem=problem), "two parts")
    names = {name: f"c{i}" for i, name in enumerate(frame.columns) if name not in ("y", "at")}
    order = np.random.default_rng(0).permutation(frame.columns)

    renamed = frame[order].rename(columns=names)

    assert accused(renamed)[0] == {names[name] for name in planted}


def test_leaks_are_found_when_the_rows_are_shuffled():
    frame, planted = plant(fair_set(5, problem="regression"), "before and after")

    assert accused(frame.sample(frac=1, random_state=0))[0] == planted


def test_the_lag_of_a_target_that_hardly_moves_is_fair_and_its_copy_is_not():
    rng = np.random.default_rng(0)
    y = np.cumsum(rng.normal(size=2_000))
    frame = pd.DataFrame({"at": pd.date_range("2025-01-01", periods=2_000, freq="h"), "y": y})
    frame["lag"] = frame["y"].shift(1)
    frame["copy"] = y * 2 + 1

    names, suspects = accused(frame)

    assert names == {"copy"}
    assert suspects["copy"].kind == "copy"


def test_the_lag_of_the_same_thing_is_fair_where_many_things_share_the_clock():
    rng = np.random.default_rng(0)
    levels = np.cumsum(rng.normal(size=(150, 20)) * 0.1, axis=0) + rng.normal(size=20) * 5
    hour, station = np.repeat(np.arange(150), 20), np.tile(np.arange(20), 150)
    frame = pd.DataFrame({"hour": hour, "station": station, "y": levels.ravel()})
    frame["at"] = pd.Timestamp("2025-01-01") + pd.to_timedelta(frame.pop("hour"), unit="h")
    frame["before"] = frame.groupby("station")["y"].shift(1)
    frame["twin"] = frame["y"] + 3

    assert accused(frame)[0] == {"twin"}


def test_a_product_of_columns_gives_the_target_away():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"price": rng.lognormal(size=800), "count": rng.integers(1, 20, 800), "x": rng.random(800)}
    )
    frame["y"] = frame["price"] * frame["count"] * 1.19

    names, suspects = accused(frame)

    assert names == {"price", "count"}
    assert suspects["price"].others == ("count",)


def test_parts_of_the_target_on_a_log_scale_are_found():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.poisson(20, 800), "b": rng.poisson(40, 800), "x": rng.random(800)})
    frame["y"] = np.log1p(frame["a"] + frame["b"])

    assert accused(frame)[0] == {"a", "b"}


def test_six_parts_of_a_total_are_found_together():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"part{i}": rng.exponential(size=900) * (i + 1) for i in range(6)})
    frame["y"] = frame.sum(axis=1)
    frame["x"] = rng.random(900)

    assert accused(frame)[0] == {f"part{i}" for i in range(6)}


def test_the_small_parts_of_a_total_are_found_with_the_large_ones():
    rng = np.random.default_rng(0)
    parts = {
        "large": rng.lognormal(3, 1, 900),
        "small": rng.random(900) * 8,
        "tiny": rng.random(900),
        "x": rng.random(900),
    }
    frame = pd.DataFrame({**parts, "more": rng.lognormal(2, 1, 900)})
    frame["y"] = frame[["large", "more", "small", "tiny"]].sum(axis=1)

    assert accused(frame)[0] == {"large", "more", "small", "tiny"}


def test_goals_that_decide_the_result_are_found_by_their_difference():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"home": rng.poisson(1.6, 1_500), "away": rng.poisson(1.2, 1_500), "x": rng.random(1_500)}
    )
    frame["y"] = np.sign(frame["home"] - frame["away"]).map({1: "H", 0: "D", -1: "A"})

    names, suspects = accused(frame)

    assert names == {"home", "away"}
    assert suspects["home"].why.startswith("'home - away' together")


def test_two_timestamps_whose_distance_is_the_target_are_found():
    rng = np.random.default_rng(0)
    y = rng.exponential(size=900) * 600
    frame = pd.DataFrame(
        {"at": pd.date_range("2025-01-01", periods=900, freq="h"), "x": rng.random(900), "y": y}
    )
    frame["dropped"] = (frame["at"] + pd.to_timedelta(y, unit="s")).astype(str)

    names, suspects = accused(frame)

    assert names == {"dropped"}
    assert "'dropped - at'" in suspects["dropped"].why


def test_what_is_known_after_the_finish_is_found_within_groups():
    frame, planted = races(0)

    names, suspects = accused(frame, time="day", group="race")

    assert names == planted
    assert {name: suspects[name].kind for name in planted} == {
        "place": "order",
        "seconds": "order",
        "won": "bucket",
        "result": "companion",
    }


def test_days_known_to_be_closed_are_no_coarse_target():
    rng = np.random.default_rng(0)
    opened = rng.random(1_000) < 0.8
    frame = pd.DataFrame({"open": opened.astype(int), "x": rng.random(1_000)})
    frame["y"] = np.where(opened, rng.lognormal(size=1_000) * 100, 0.0)

    assert accused(frame)[0] == set()


def test_a_rare_class_that_is_easily_ranked_is_not_given_away():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=4_000)
    frame = pd.DataFrame({"strong": hidden + rng.normal(size=4_000) * 0.4, "x": rng.random(4_000)})
    frame["y"] = (hidden > np.quantile(hidden, 0.97)).astype(int)

    assert roc_auc_score(frame["y"], frame["strong"]) > 0.98
    assert accused(frame)[0] == set()


def test_a_lone_column_that_falls_short_of_certainty_is_pointed_out_and_kept():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3_000)
    frame = pd.DataFrame(
        {"odd": np.where(rng.random(3_000) < 0.022, 1 - y, y), "x": rng.random(3_000), "y": y}
    )

    material, _ = survey(frame, target="y", time=None, group=None, rng=np.random.default_rng(0))
    proposal = propose(material)

    assert proposal.exclude == {}
    assert [warning.code for warning in proposal.warnings] == ["suspected_leak"]
    assert "odd" in proposal.warnings[0].message


def test_concordance_counts_pairs_within_groups_alone():
    # group 0: pairs (1,2) right, (1,3) right, (2,3) tied score; group 1: one pair, wrong. 2.5 of 4, 20 times over
    score = np.tile([1.0, 2.0, 2.0, 9.0, 1.0], 20)
    y = np.tile([0.0, 1.0, 2.0, 0.0, 1.0], 20)
    group = np.tile([0, 0, 0, 1, 1], 20) + np.repeat(np.arange(20) * 2, 5)

    assert concordance(score, y, group) == 2.5 / 4


def test_concordance_agrees_with_counting_every_pair():
    rng = np.random.default_rng(0)
    group, y, score = (
        rng.integers(0, 40, 300),
        rng.integers(0, 4, 300).astype(float),
        rng.integers(0, 9, 300) * 1.0,
    )
    right = total = 0.0
    for i in range(300):
        for j in range(300):
            if group[i] == group[j] and y[i] > y[j]:
                total += 1
                right += (score[i] > score[j]) + 0.5 * (score[i] == score[j])

    assert concordance(score, y, group) == pytest.approx(right / total, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
@settings(max_examples=60, deadline=None)
def test_auc_and_average_precision_agree_with_scikit_learn(pairs):
    score = np.array([value for value, _ in pairs], dtype=float)
    positive = np.array([label for _, label in pairs])
    if positive.all() or not positive.any():
        assert np.isnan(roc_auc(positive, score))
        return
    assert roc_auc(positive, score) == pytest.approx(roc_auc_score(positive, score))
    assert average_precision(positive, score) == pytest.approx(average_precision_score(positive, score))


@given(st.integers(0, 1_000), st.sampled_from([1.0, -3.0, 0.001]))
@settings(max_examples=20, deadline=None)
def test_the_error_of_a_view_ignores_scale_and_sign(seed, factor):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=300)
    material = LeakSearchData(problem="regression", y=y, views=(), fold=np.arange(300) % 2)
    values = y + rng.normal(size=300)

    plain = measure_error(View(columns=("x",), values=values), material)
    scaled = measure_error(View(columns=("x",), values=values * factor), material)

    assert 0 < plain < 1
    assert scaled == pytest.approx(plain, abs=0.05)


def test_noise_tells_nothing_and_the_target_everything():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2_000).astype(float)
    material = LeakSearchData(problem="binary", y=y, views=(), fold=np.arange(2_000) % 2)

    assert measure_error(View(columns=("y",), values=y), material) == 0.0
    assert measure_error(View(columns=("x",), values=rng.random(2_000)), material) > 0.9


def test_too_few_rows_are_not_judged():
    material = LeakSearchData(problem="binary", y=np.arange(20.0) % 2, views=(), fold=np.arange(20) % 2)

    assert np.isnan(measure_error(View(columns=("x",), values=np.arange(20.0)), material))


def test_the_table_of_correlations_agrees_with_least_squares():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    y = x[:, 1] - 2 * x[:, 3] + rng.normal(size=200)
    table = CorrelationTable.of(x, y)

    design = np.column_stack([np.ones(200), x[:, [1, 3]]])
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]

    assert table.open((1, 3)) == pytest.approx(np.var(residual) / np.var(y))
    assert table.best(2)[0] == (1, 3)
    assert set(table.best(3)[0]) > {1, 3}


def test_the_past_is_that_of_the_same_owner():
    past = lag(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 1, 0, 1]), steps=1)

    assert past[2:].tolist() == [1.0, 2.0]
    assert np.isnan(past[:2]).all()
