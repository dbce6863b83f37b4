"""Strategies of retraining: where training begins, how much a row counts, and no label before its time."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.data.split import assign_parts, plan_split
from evergreen.tasks.core.data.strategy import describe_start, training_start
from evergreen.tasks.core.data.timeline import labels_known_at
from evergreen.tasks.core.errors import ConfigError, DataError, NotLearnable
from evergreen.tasks.core.training.features import feature_frame
from evergreen.tasks.core.training.fitting import fit_candidate
from evergreen.tasks.core.training.weights import (
    newest_window,
    recency_weights,
    similarity_weights,
    strategy_weights,
    training_weights,
)
from tests.support.training_data import model_config

DAY = 86400.0
X = Schema(target="y", numeric=("x",))
XC = Schema(target="y", numeric=("x",), categorical=("c",))
HUNDRED = np.arange(100.0)


def by_rows(window, *, fewest=1000):
    """Return a model on a clock of row numbers that learns from a window."""
    retraining = {"window": window, "min_rows_since_change": fewest}
    return model_config(data={"time": "t", "clock": "rows"}, retraining=retraining)


def by_time(window, **retraining):
    return model_config(data={"time": "at"}, retraining={"window": window, **retraining})


def start(config, places=HUNDRED, *, end=100.0, **options):
    return training_start(places, end=end, config=config, **options)


# --- where training begins


def test_full_history_has_no_beginning():
    assert start(by_rows("full"), change_at=40.0) == -math.inf


def test_a_window_of_rows_begins_so_many_before_the_end():
    assert start(by_rows("20 rows")) == 80.0


def test_a_window_of_rows_on_a_clock_of_time_is_counted():
    # Moments 0, 10, 20, …, 990: the newest 20 begin at 800.
    assert start(by_time("20 rows"), 10 * HUNDRED, end=1000.0) == 800.0


@pytest.mark.parametrize(("window", "days"), [("30d", 30), ("6mo", 6 * 30.4375), ("1mo", 30.4375)])
def test_a_window_of_days_or_months_begins_so_long_before_the_end(window, days):
    assert start(by_time(window), HUNDRED * DAY, end=1000 * DAY) == (1000 - days) * DAY


def test_the_default_duration_means_all_history_where_rows_are_the_clock():
    config = model_config(data={"time": "t", "clock": "rows"})
    assert start(config) == -math.inf


def test_a_share_put_aside_lengthens_the_window():
    # 20 rows are to be left of which a fifth is put aside: 20 / 0.8 = 25 rows, from 75.
    assert start(by_rows("20 rows"), held=0.2) == 75.0


def test_since_change_begins_at_the_change():
    assert start(by_rows("since_change", fewest=30), change_at=40.0) == 40.0


def test_since_change_reaches_further_back_when_the_change_is_too_recent():
    # Since 90 there are 10 rows; the newest 30 begin at 70.
    assert start(by_rows("since_change", fewest=30), change_at=90.0) == 70.0


def test_since_change_leaves_the_fewest_rows_beside_what_is_put_aside():
    # 30 rows are to be left of which a quarter is put aside: 30 / 0.75 = 40 rows, from 60.
    assert start(by_rows("since_change", fewest=30), change_at=90.0, held=0.25) == 60.0


def test_since_change_takes_all_there_is_when_that_is_less_than_the_fewest():
    assert start(by_rows("since_change", fewest=1000), change_at=90.0) == 0.0


def test_since_change_without_a_change_is_all_history():
    assert start(by_rows("since_change")) == -math.inf


def test_nothing_to_learn_from_begins_nowhere():
    assert start(by_rows("since_change"), np.zeros(0), change_at=40.0) == -math.inf


@given(
    gaps=st.lists(st.integers(0, 3), min_size=1, max_size=80),
    change=st.floats(-10, 200),
    fewest=st.integers(1, 100),
)
def test_since_change_reaches_back_as_far_as_it_must_and_no_further(gaps, change, fewest):
    places = np.cumsum(gaps).astype(float)
    found = start(by_rows("since_change", fewest=fewest), places, change_at=change)
    assert found <= change
    assert (places >= found).sum() >= min(fewest, len(places))
    assert found == change or (places > found).sum() < fewest


def test_what_keeps_training_from_beginning_at_the_change_is_said():
    recent, none = by_rows("since_change", fewest=30), by_rows("since_change")
    (said,) = describe_start(HUNDRED[70:], config=recent, change_at=90.0)
    assert ("reaches_before_change", 10.0, 30.0, 30) == (said.code, said.observed, said.limit, said.n)
    assert ["no_change_known"] == [reason.code for reason in describe_start(HUNDRED, config=none)]


@pytest.mark.parametrize("window", ["since_change", "full", "20 rows"])
def test_nothing_is_said_where_training_begins_as_asked(window):
    assert () == describe_start(HUNDRED[40:], config=by_rows(window), change_at=40.0)


# --- weights by recency


def test_recency_halves_with_half_the_rows_length():
    # Ages 10, 5, 0 of a length of 10: 1/4, 1/2, 1; their mean is 7/12.
    found = recency_weights(np.array([0.0, 5.0, 10.0]))
    assert [3 / 7, 6 / 7, 12 / 7] == pytest.approx(found.tolist())


def test_recency_halves_with_the_half_life_that_was_asked_for():
    # Ages 4, 2, 0 days at a half-life of 2 days: 1/4, 1/2, 1.
    found = recency_weights(np.array([0.0, 2.0, 4.0]) * DAY, half_life=parse_span("2d"))
    assert [3 / 7, 6 / 7, 12 / 7] == pytest.approx(found.tolist())


def test_a_half_life_in_rows_counts_newer_rows_on_a_clock_of_time():
    # Newer rows: 2, 2, 1, 0 (the first two are of one moment); half-life 1 row: 1/4, 1/4, 1/2, 1, of mean 1/2.
    found = recency_weights(np.array([0.0, 0.0, 7.0, 900.0]), half_life=parse_span("1 row"))
    assert [0.5, 0.5, 1.0, 2.0] == pytest.approx(found.tolist())


def test_a_half_life_in_rows_is_a_length_where_rows_are_the_clock():
    # Rows 10, 20 and 30 are 20, 10 and 0 old, however few there are between them.
    found = recency_weights(np.array([10.0, 20.0, 30.0]), half_life=parse_span("10 rows"), clock="rows")
    assert [3 / 7, 6 / 7, 12 / 7] == pytest.approx(found.tolist())


@settings(max_examples=50)
@given(
    positions=st.lists(st.integers(0, 10**6), min_size=1, max_size=60),
    half_life=st.sampled_from([None, "1h", "3d", "1 row", "17 rows"]),
)
def test_recency_agrees_with_a_loop_by_hand(positions, half_life):
    places = [float(position) for position in positions]
    by_hand = []
    for place in places:
        if half_life is None:
            span = max(places) - min(places)
            periods = (max(places) - place) / (span / 2) if span else 0.0
        elif "row" in half_life:
            periods = sum(other > place for other in places) / int(half_life.split()[0])
        else:
            periods = (max(places) - place) / {"1h": 3600.0, "3d": 3 * DAY}[half_life]
        by_hand.append(2.0**-periods)
    expected = np.array(by_hand) / (sum(by_hand) / len(by_hand))
    found = recency_weights(np.array(places), half_life=half_life and parse_span(half_life))
    assert expected == pytest.approx(found, abs=1e-12)


@settings(max_examples=50)
@given(
    positions=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60),
    half_life=st.sampled_from([None, "1s", "30d", "6mo", "5 rows"]),
    order=st.randoms(use_true_random=False),
)
def test_recency_is_finite_of_mean_one_and_does_not_mind_the_order_of_rows(positions, half_life, order):
    places = np.array(positions)
    mixed = order.sample(range(len(places)), len(places))
    span = half_life and parse_span(half_life)
    found = recency_weights(places, half_life=span)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert found.mean() == pytest.approx(1)
    assert recency_weights(places[mixed], half_life=span) == pytest.approx(found[mixed], abs=1e-12)
    assert (np.diff(found[np.argsort(places, kind="stable")]) >= 0).all()


@given(shift=st.integers(-1000, 1000), unit=st.sampled_from([0.5, 1.0, 3600.0]))
def test_recency_over_half_the_length_does_not_mind_the_clocks_zero_and_unit(shift, unit):
    places = np.array([0.0, 1.0, 4.0, 9.0])
    assert recency_weights(places) == pytest.approx(recency_weights(places * unit + shift))


def test_rows_of_one_moment_count_alike():
    assert [1.0, 1.0] == recency_weights(np.array([5.0, 5.0])).tolist()
    assert 0 == len(recency_weights(np.zeros(0)))


def test_a_half_life_of_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"half_life '0d' is no length.*such as 30d"):
        recency_weights(HUNDRED, half_life=parse_span("0d"))


def test_a_half_life_of_days_is_refused_where_rows_are_the_clock():
    with pytest.raises(ConfigError, match=r"'3d' has no length on a clock of row numbers\. Write a number"):
        recency_weights(HUNDRED, half_life=parse_span("3d"), clock="rows")


# --- weights by similarity


def shifted(*, n=2000, m=500, shift=1.0, seed=0):
    """Return x of n rows, the newest m of which have another mean, and which those are."""
    rng = np.random.default_rng(seed)
    newest = np.arange(n) >= n - m
    return pd.DataFrame({"x": rng.normal(size=n) + shift * newest}), newest


def test_similarity_is_the_ratio_of_shares():
    # Older: a 150, b 100, missing 50 of 300. Newest: 25, 25, 50 of 100, a quarter of all rows.
    # P(newest | a) = 25/175 = 1/7, over the quarter 4/7; b: 25/125 · 4 = 0.8; missing: 50/100 · 4 = 2.
    colour = ["a"] * 150 + ["b"] * 100 + [None] * 50 + ["a"] * 25 + ["b"] * 25 + [None] * 50
    frame = pd.DataFrame({"c": colour})
    found = similarity_weights(frame, np.arange(400) >= 300, schema=Schema(target="y", categorical=("c",)))
    assert [4 / 7, 0.8, 2.0] == pytest.approx(found[[0, 150, 250]].tolist(), abs=0.05)


def test_similarity_agrees_with_the_density_ratio_of_two_gaussians():
    # Older rows N(0, 1), newest N(1, 1), a share of 1/4: their ratio is exp(x - 1/2), and that of the newest to all
    # rows exp(x - 1/2) / (exp(x - 1/2)/4 + 3/4).
    frame, newest = shifted(n=4000, m=1000)
    ratio = np.exp(frame["x"] - 0.5)
    expected = ratio / (ratio / 4 + 3 / 4)
    found = similarity_weights(frame, newest, schema=X)
    assert spearmanr(found, expected).statistic > 0.9
    assert np.abs(found - expected).mean() < 0.1


def test_rows_that_have_not_moved_count_nearly_alike():
    frame, newest = shifted(shift=0.0)
    found = similarity_weights(frame, newest, schema=X)
    assert 0.98 < found.sum() ** 2 / (len(found) * (found**2).sum())


def test_no_row_is_lost_and_none_decides_alone_however_far_the_newest_have_moved():
    frame, newest = shifted(n=5000, m=100, shift=50.0)
    found = similarity_weights(frame, newest, schema=X)
    # The ratio is 0 for 4,900 older rows and 5000/100 = 50 for the newest; clipped 0.05 and 20, of mean
    # (4900 · 0.05 + 100 · 20) / 5000 = 0.449.
    assert found[newest] == pytest.approx(np.full(100, 20 / 0.449))
    assert found[~newest] == pytest.approx(np.full(4900, 0.05 / 0.449))


@pytest.mark.parametrize(
    ("frame", "newest", "schema"),
    [
        (shifted(n=500, m=99)[0], np.arange(500) >= 401, X),
        (shifted(n=500, m=99)[0], np.arange(500) >= 99, X),
        (shifted(n=300)[0], np.ones(300, dtype=bool), X),
        (shifted(n=300)[0].head(0), np.zeros(0, dtype=bool), X),
        (shifted()[0], shifted()[1], Schema(target="y")),
        (pd.DataFrame({"x": [3.5] * 400}), np.arange(400) >= 200, X),
        (pd.DataFrame({"x": [np.nan] * 400, "c": ["a"] * 400}), np.arange(400) >= 200, XC),
    ],
    ids=["few newest", "few older", "all newest", "no rows", "no features", "constant", "nothing but null"],
)
def test_where_the_newest_cannot_be_told_apart_all_count_alike(frame, newest, schema):
    assert similarity_weights(frame, newest, schema=schema) == pytest.approx(np.ones(len(frame)))


def test_missing_and_infinite_values_are_values_of_their_own():
    frame, newest = shifted(shift=0.0)
    frame.loc[newest & (np.arange(2000) % 2 == 0), "x"] = np.nan
    frame.loc[:40, "x"] = np.inf
    before = frame.copy()
    found = similarity_weights(frame, newest, schema=X)
    pd.testing.assert_frame_equal(frame, before)
    # Missing or infinite: 250 newest, 41 older rows. P(newest | missing) = 250/291, over the quarter: 3.44.
    assert found[frame["x"].isna()].mean() == pytest.approx(250 / 291 * 4, rel=0.02)


def test_a_missing_feature_is_named():
    frame, newest = shifted()
    with pytest.raises(DataError, match="Missing column 'c'"):
        similarity_weights(frame, newest, schema=XC)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(200, 600),
    share=st.floats(0.1, 0.9),
    shift=st.floats(-4, 4),
    nulls=st.floats(0, 0.5),
    scale=st.sampled_from([-1000.0, -1.0, 1e-3, 7.0]),
    offset=st.sampled_from([0.0, -50.0, 1e4]),
)
def test_similarity_is_finite_of_mean_one_and_minds_neither_order_nor_units(
    seed, n, share, shift, nulls, scale, offset
):
    rng = np.random.default_rng(seed)
    newest = rng.random(n) < share
    frame = pd.DataFrame({"x": rng.normal(size=n) + shift * newest, "c": rng.choice(["a", "b", "c"], n)})
    frame = frame.mask(rng.random((n, 2)) < nulls)
    found = similarity_weights(frame, newest, schema=XC)
    assert np.isfinite(found).all()
    assert found.mean() == pytest.approx(1)
    assert 0 < found.min()
    assert found.max() <= 400 * found.min() * (1 + 1e-9)
    mixed = rng.permutation(n)
    again = similarity_weights(frame.iloc[mixed], newest[mixed], schema=XC)
    assert again == pytest.approx(found[mixed], abs=1e-6)
    other = similarity_weights(frame.assign(x=frame["x"] * scale + offset), newest, schema=XC)
    assert other == pytest.approx(found, abs=1e-5)


# --- the newest window, and the strategy a configuration names


def test_the_newest_window_is_so_long_and_ends_with_the_newest_row():
    hours = 3600.0 * np.arange(1000)
    assert np.flatnonzero(newest_window(hours, parse_span("10d"), clock="timestamp")).tolist() == [
        *range(760, 1000)
    ]
    assert newest_window(hours, parse_span("300 rows"), clock="timestamp").sum() == 300
    assert newest_window(np.arange(1000.0), parse_span("300 rows"), clock="rows").sum() == 300


def test_the_newest_window_holds_a_hundred_rows_at_least():
    hours = 3600.0 * np.arange(1000)
    for window in ("1d", "20 rows"):
        assert newest_window(hours, parse_span(window), clock="timestamp").sum() == 100
    assert newest_window(hours[:60], parse_span("1d"), clock="timestamp").all()
    assert len(newest_window(np.zeros(0), parse_span("1d"), clock="timestamp")) == 0


def moved_rows(*, problem="regression", seed=0):
    frame, newest = shifted(seed=seed)
    y = np.random.default_rng(seed).integers(0, 2, len(frame))
    return Rows(frame.assign(y=y), 3600.0 * np.arange(len(frame))), newest


def weighted(kind, **retraining):
    return model_config("regression", retraining={"weighted": kind, **retraining})


def test_the_strategy_a_configuration_names_is_used():
    rows, newest = moved_rows()
    config = weighted("recency", half_life="6mo")
    expected = recency_weights(rows.positions, half_life=parse_span("6mo"))
    assert expected.tolist() == strategy_weights(rows, schema=X, config=config).tolist()
    # monitoring.window is 500 rows unless said otherwise, and so many have moved
    found = strategy_weights(rows, schema=X, config=weighted("similarity"))
    assert similarity_weights(rows.frame, newest, schema=X).tolist() == found.tolist()


@pytest.mark.parametrize("kind", ["none", "recency", "similarity"])
def test_without_a_clock_or_rows_or_strategy_all_count_alike(kind):
    rows, _ = moved_rows()
    for some in (Rows(rows.frame, None), rows.take(np.zeros(0, dtype=int))):
        assert strategy_weights(some, schema=X, config=weighted(kind)) is None
    assert strategy_weights(rows, schema=X, config=weighted("none")) is None


@pytest.mark.parametrize("kind", ["recency", "similarity"])
def test_weights_do_not_look_at_labels(kind):
    rows, _ = moved_rows()
    blind = Rows(rows.frame.drop(columns="y"), rows.positions)
    config = weighted(kind)
    found = [strategy_weights(some, schema=X, config=config).tolist() for some in (rows, blind)]
    assert found[0] == found[1]


def test_the_strategy_is_one_factor_of_a_rows_weight():
    rows, _ = moved_rows()
    own = np.where(np.arange(2000) % 2, 3.0, 1.0)
    rows = Rows(rows.frame.assign(w=own), rows.positions)
    schema = Schema(target="y", numeric=("x",), weight="w")
    config = model_config("regression", data={"weight": "w"}, retraining={"weighted": "similarity"})
    found = training_weights(rows, rows.frame["y"], schema=schema, config=config, class_weights=False)
    product = own * strategy_weights(rows, schema=schema, config=config)
    assert found == pytest.approx(product / product.mean())


def test_yes_and_no_of_earlier_configurations_are_still_read():
    assert ["recency", False] == [weighted(old).retraining.weighted for old in (True, False)]


def test_a_strategy_for_an_estimator_that_takes_no_weights_is_refused_by_its_key():
    rows, _ = moved_rows()
    knn = Candidate(name="knn", estimator="sklearn.neighbors.KNeighborsRegressor")
    with pytest.raises(ConfigError, match=r"'knn'.*takes no weights\. Remove.*retraining\.weighted"):
        fit_candidate(knn, rows, schema=X, config=weighted("similarity"))


def test_under_covariate_shift_a_straight_line_does_better_on_the_newest_rows_when_weighted():
    ridge = Candidate(name="line", estimator="sklearn.linear_model.Ridge", params={"alpha": 1e-6})
    wins = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        frame, _ = shifted(seed=seed)
        curve = frame["x"] ** 2  # what follows from x stays the same, but no straight line can say it
        rows = Rows(frame.assign(y=curve + rng.normal(scale=0.5, size=2000)), np.arange(2000.0))
        later = pd.DataFrame({"x": rng.normal(loc=1.0, size=2000)})
        wrong = {}
        for kind in ("none", "similarity"):
            model = fit_candidate(ridge, rows, schema=X, config=weighted(kind))
            answers = model.predict(feature_frame(later, X))
            wrong[kind] = float(np.mean((answers - later["x"] ** 2) ** 2))
        wins += wrong["similarity"] < wrong["none"]
    assert wins >= 40


# --- no label before its time


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 4), min_size=40, max_size=100),
    late=st.integers(0, 2**32 - 1),
    delay=st.integers(0, 12),
    told=st.booleans(),
    window=st.sampled_from(["full", "since_change", "25 rows"]),
    change=st.none() | st.floats(-10, 300),
    fewest=st.integers(1, 80),
    holdout=st.floats(0.05, 0.5) | st.just("10 rows"),
    refit=st.booleans(),
    until=st.none() | st.integers(60, 300),
)
def test_no_training_row_has_a_label_that_was_unknown_as_the_next_part_began(
    gaps, late, delay, told, window, change, fewest, holdout, refit, until
):
    at = np.cumsum(gaps).astype(float)
    frame = pd.DataFrame({"t": at, "y": np.arange(len(at)) % 2})
    frame["known"] = at + np.random.default_rng(late).choice([0, 0, 2, 9, 40], size=len(at))
    frame["y"] = frame["y"].where(np.arange(len(at)) % 7 > 0)
    config = model_config(
        data={"time": "t", "clock": "rows", "label_delay": f"{delay} rows"}
        | ({"label_time": "known"} if told else {}),
        evaluation={"validation_window": "20 rows"},
        split={"holdout": holdout},
        retraining={"window": window, "min_rows_since_change": fewest},
    )
    rows = Rows(frame, at)
    moment = None if until is None else float(until)
    try:
        plan = plan_split(rows, config, refit=refit, change_at=change, until=moment)
    except NotLearnable as error:
        if error.reason_code not in {"too_few_rows", "no_labels"}:
            raise
        return
    parts = assign_parts(rows, plan)
    known = labels_known_at(parts.training.frame, parts.training.positions, plan)
    begins = [part.positions.min() for part in (parts.holdout, parts.evaluation) if len(part)]
    assert parts.training.frame["y"].notna().all()
    assert known.max() <= min([*begins, math.inf if moment is None else moment])
    if window == "since_change" and change is not None:
        learnable = rows.frame[rows.frame["y"].notna()]
        moments = labels_known_at(learnable, learnable["t"].to_numpy(dtype=float), plan)
        starts = [part.start for part in (plan.holdout, plan.evaluation) if part is not None]
        limit = min([*starts, math.inf if moment is None else moment])  # the first row may lie later
        could = int(((moments <= limit) & (learnable["t"] < limit)).sum())
        assert len(parts.training) >= min(fewest, could)
        assert (
            parts.training.positions.min() >= change
            or len(parts.training) >= fewest
            or (len(parts.training) == could)
        )
