"""Random splits: a row keeps its part for ever, and a random split of overlapping targets is refused by name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.data.rows import Rows, SplitPlan, hash_rows
from evergreen.tasks.core.data.split import (
    assign_parts,
    forced_random_warning,
    neighbour_dependence,
    plan_split,
    unseen_rows,
)
from evergreen.tasks.core.errors import ConfigError, NotLearnable
from tests.support.training_data import model_config

PARTS = ("training", "holdout", "evaluation")


def untimed(n=5_000, *, seed=0, **columns):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"a": rng.normal(size=n), "b": rng.choice(list("uvw"), n), "y": rng.integers(0, 2, n)}
    )
    return Rows(frame.assign(**columns))


def timed(target, **columns):
    frame = pd.DataFrame({"t": np.arange(len(target)), "y": target, **columns})
    return Rows(frame, frame["t"].to_numpy(dtype=float))


def forced(problem="regression", *, data=None, **split):
    return model_config(
        problem, data={"time": "t", "clock": "rows", **(data or {})}, split={"method": "random", **split}
    )


def divide(rows, config):
    return assign_parts(rows, plan_split(rows, config))


def contents(rows, columns=("a", "b")):
    return set(hash_rows(rows.frame[list(columns)]).tolist())


def test_shares_are_as_configured():
    # Holdout is a share of what evaluation leaves: 0.15 x 0.8 = 0.12; four standard errors of 20,000 rows: 0.012.
    parts = divide(untimed(20_000), model_config())
    shares = [len(getattr(parts, part)) / 20_000 for part in PARTS]
    assert shares == pytest.approx([0.68, 0.12, 0.20], abs=0.012)
    assert sum(map(len, (parts.training, parts.holdout, parts.evaluation))) == 20_000


@given(st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_a_row_keeps_its_part_in_every_snapshot(seed, random):
    config = model_config(split={"seed": seed})
    rows = untimed(60)
    more = pd.concat([rows.frame, untimed(40, seed=1).frame]).astype({"y": float})
    order = random.sample(range(100), 100)
    later = Rows(more.iloc[order][["y", "b", "a"]].reset_index(drop=True))
    now, afterwards = divide(rows, config), divide(later, config)
    for part in PARTS:
        assert contents(getattr(now, part)) <= contents(getattr(afterwards, part))


def test_equal_rows_are_in_one_part():
    twice = pd.concat([untimed(500).frame, untimed(500).frame.assign(y=0)], ignore_index=True)
    parts = divide(Rows(twice), model_config())
    found = [contents(getattr(parts, part)) for part in PARTS]
    assert found[0].isdisjoint(found[1] | found[2])
    assert found[1].isdisjoint(found[2])


def test_a_row_keeps_its_part_when_its_label_comes_later():
    rows = untimed(500)
    unlabelled = Rows(rows.frame.assign(y=np.where(np.arange(500) % 2, rows.frame["y"], np.nan)))
    before, after = divide(unlabelled, model_config()), divide(rows, model_config())
    assert before.unlabelled == 250
    assert contents(before.evaluation) <= contents(after.evaluation)


@pytest.mark.parametrize("role", ["group", "entity"])
def test_rows_that_belong_together_stay_together(role):
    rows = untimed(2_000, owner=np.arange(2_000) // 8)
    parts = divide(rows, model_config("ranking" if role == "group" else "binary", data={role: "owner"}))
    owners = [set(getattr(parts, part).frame["owner"]) for part in PARTS]
    assert [len(each) > 10 for each in owners] == [True] * 3
    assert owners[0] | owners[1] | owners[2] == set(range(250))
    assert sum(map(len, owners)) == 250


def test_another_seed_divides_anew():
    rows = untimed(2_000)
    first, second = (divide(rows, model_config(split={"seed": seed})) for seed in (0, 1))
    shared = len(contents(first.evaluation) & contents(second.evaluation))
    assert 50 < shared < 110  # 2,000 x 0.2 x 0.2 = 80, standard deviation 8.8


@given(rows=st.integers(1, 400), later=st.integers(0, 200))
def test_unseen_rows_were_never_learned_from(rows, later):
    first = untimed(rows)
    try:
        parts = divide(first, model_config())
    except NotLearnable:
        return
    everything = Rows(pd.concat([first.frame, untimed(later, seed=2).frame], ignore_index=True))
    unseen = contents(everything.take(unseen_rows(parts.plan, everything)))
    assert unseen.isdisjoint(contents(parts.training) | contents(parts.holdout))
    assert contents(parts.evaluation) <= unseen


def test_a_plan_survives_its_json_form():
    plan = plan_split(untimed(100), model_config())
    assert SplitPlan.from_dict(plan.to_dict()) == plan


def test_rows_that_lack_an_identifying_column_prove_nothing():
    rows = untimed(100)
    plan = plan_split(rows, model_config())
    with pytest.raises(NotLearnable, match="'b' identified the rows") as caught:
        unseen_rows(plan, Rows(rows.frame.drop(columns="b")))
    assert caught.value.reason_code == "identity_unknown"


def test_a_holdout_span_has_no_meaning_without_order():
    with pytest.raises(ConfigError, match=r"split\.holdout '500 rows' is a span"):
        plan_split(untimed(100), model_config(split={"holdout": "500 rows"}))


@pytest.mark.parametrize("options", [{"refit": True}, {"trained_to": 5.0}])
def test_what_came_after_training_cannot_be_shown_without_a_clock(options):
    with pytest.raises(NotLearnable) as caught:
        plan_split(untimed(100), model_config(), **options)
    assert caught.value.reason_code == "no_clock"


def test_rows_without_any_label_cannot_be_divided():
    with pytest.raises(NotLearnable) as caught:
        plan_split(untimed(100, y=np.nan), model_config())
    assert caught.value.reason_code == "no_labels"


def test_max_rows_bounds_training_alone():
    parts = divide(untimed(2_000), model_config(split={"max_rows": 100}))
    assert len(parts.training) == 100
    assert len(parts.evaluation) > 300


def test_a_random_split_of_timed_independent_rows_is_warned_about_by_name():
    rows = timed(np.random.default_rng(0).normal(size=500))
    warnings = forced_random_warning(rows, forced())
    assert [warning.code for warning in warnings] == ["random_split_on_timed_data"]
    assert "split.method 'random'" in warnings[0].message


def test_a_split_by_time_needs_no_warning():
    config = model_config("regression", data={"time": "t", "clock": "rows"})
    assert forced_random_warning(timed(np.arange(100.0)), config) == ()
    assert forced_random_warning(untimed(100), model_config()) == ()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"purge": "5 rows"}, "split.purge is 5 rows"),
        ({"data": {"label_delay": "5 rows"}}, "data.label_delay is 5 rows"),
        ({"data": {"label_time": "known"}}, "data.label_time is 'known'"),
    ],
)
def test_a_random_split_is_refused_where_the_configuration_says_targets_overlap(options, why):
    rows = timed(np.random.default_rng(0).normal(size=500), known=np.arange(500))
    with pytest.raises(ConfigError, match="refused on timed data with overlapping targets") as caught:
        forced_random_warning(rows, forced(**options))
    assert why in str(caught.value)


def overlapping(rng, n, horizon, *, binary):
    """Return sums over the next `horizon` steps: neighbours share all but one of their terms."""
    total = np.convolve(rng.normal(size=n + horizon), np.ones(horizon), mode="valid")[:n]
    return (total > 0).astype(int) if binary else total


@pytest.mark.parametrize("binary", [False, True])
def test_overlapping_targets_are_always_found_and_independent_ones_never(binary):
    # Sums over 12 steps correlate at 11/12; their signs agree beyond chance at 2/pi asin(11/12) = 0.74.
    config = forced("binary" if binary else "regression")
    refused = {1: 0, 12: 0}
    for seed in range(100):
        for horizon in refused:
            target = overlapping(np.random.default_rng(seed), 400, horizon, binary=binary)
            try:
                forced_random_warning(timed(target), config)
            except ConfigError:
                refused[horizon] += 1
    assert refused == {1: 0, 12: 100}


def test_neighbours_are_those_of_one_entity_in_clock_order():
    rng = np.random.default_rng(0)
    level = rng.normal(size=20).round(2)
    frame = pd.DataFrame(
        {"who": np.tile(np.arange(20), 30), "y": np.tile(level, 30), "t": np.repeat(np.arange(30), 20)}
    )
    at = frame["t"].to_numpy(dtype=float)
    assert neighbour_dependence(frame, at, target="y", entity="who") == pytest.approx(1.0)
    assert neighbour_dependence(frame, at, target="y", entity=None) < 0.5


def test_dependence_is_kappa_for_classes_by_hand():
    # 60 labels in blocks of 3: aaabbbaaabbb…: 40 of 59 neighbours agree. Before: 30 a, 29 b; after: 29 a, 30 b.
    frame = pd.DataFrame({"y": np.tile(list("aaabbb"), 10)})
    chance = (30 * 29 + 29 * 30) / 59**2
    expected = (40 / 59 - chance) / (1 - chance)
    found = neighbour_dependence(frame, np.arange(60.0), target="y", entity=None)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("target", [[1.0] * 100, [0.0, 1.0] * 10, [np.nan] * 100])
def test_dependence_is_zero_where_nothing_can_be_said(target):
    frame = pd.DataFrame({"y": target})
    assert neighbour_dependence(frame, np.arange(float(len(frame))), target="y", entity=None) == 0.0
