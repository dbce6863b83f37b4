"""Splits by time: gaps between parts, labels known, groups whole, and later rows that change nothing."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows, SplitPlan
from evergreen.tasks.core.data.split import assign_parts, plan_split, unseen_rows
from evergreen.tasks.core.errors import InputError, NotLearnable
from tests.support.training_data import model_config

DAY = 86400.0
PARTS = ("training", "holdout", "evaluation")


def counted(n=100, **columns):
    frame = pd.DataFrame({"t": np.arange(n), "x": np.arange(n) * 2.0, "y": np.arange(n) % 2, **columns})
    return Rows(frame, frame["t"].to_numpy(dtype=float))


def hourly(n, **columns):
    frame = pd.DataFrame({"x": np.arange(n, dtype=float), "y": np.arange(n) % 2, **columns})
    return Rows(frame, 1.7e9 // DAY * DAY + 3600.0 * np.arange(n))


def row_clock(*, window="20 rows", data=None, evaluation=None, **sections):
    return model_config(
        data={"time": "t", "clock": "rows", **(data or {})},
        evaluation={"validation_window": window, **(evaluation or {})},
        retraining=sections.pop("retraining", {"window": "full"}),
        **sections,
    )


def times(rows):
    return rows.positions.astype(int).tolist()


def divide(rows, config, **options):
    return assign_parts(rows, plan_split(rows, config, **options))


def test_parts_follow_one_another_with_a_purge():
    # Evaluation: the newest 20 of 100 rows, 80..99. Before it, rows whose purge of 5 is over at 80: 0..75, 76 rows.
    # Holdout: the newest quarter of those, 19 rows, 57..75. Training: rows whose purge is over at 57: 0..52.
    config = row_clock(split={"purge": "5 rows", "holdout": 0.25})
    parts = divide(counted(), config)
    assert times(parts.evaluation) == list(range(80, 100))
    assert times(parts.holdout) == list(range(57, 76))
    assert times(parts.training) == list(range(53))


def test_purge_and_label_delay_add_up():
    config = row_clock(split={"purge": "5 rows", "holdout": 0.25}, data={"label_delay": "3 rows"})
    parts = divide(counted(), config)
    assert (times(parts.holdout)[-1], times(parts.evaluation)[0]) == (72, 80)
    assert times(parts.holdout)[0] - times(parts.training)[-1] == 8


def test_without_gaps_no_row_is_lost():
    parts = divide(counted(), row_clock())
    assert sorted(t for part in PARTS for t in times(getattr(parts, part))) == list(range(100))


def test_a_label_that_came_late_is_not_learned_from():
    known = np.arange(100)
    known[10] = 85
    config = row_clock(data={"label_time": "known"})
    parts = divide(counted(known=known), config)
    assert 10 not in times(parts.training)
    assert {9, 11} <= set(times(parts.training))


def test_a_label_without_its_time_counts_from_the_delay():
    known = pd.Series(np.arange(100.0))
    known[64] = np.nan
    config = row_clock(data={"label_time": "known", "label_delay": "30 rows"}, split={"holdout": "10 rows"})
    assert 64 not in times(divide(counted(known=known), config).training)


def test_rows_without_a_label_are_in_no_part():
    rows = counted()
    rows = Rows(rows.frame.assign(y=rows.frame["y"].where(rows.frame["t"] % 10 > 0)), rows.positions)
    parts = divide(rows, row_clock())
    assert parts.unlabelled == 10
    assert [t for part in PARTS for t in times(getattr(parts, part)) if t % 10 == 0] == []


def test_as_of_a_moment_nothing_later_exists():
    # As of 70, with labels known after 5 rows: the newest labelled row is 65.
    config = row_clock(data={"label_delay": "5 rows"})
    parts = divide(counted(), config, until=70.0)
    assert times(parts.evaluation) == list(range(46, 66))
    assert max(times(parts.holdout)) + 5 <= 46


@given(later=st.integers(1, 60), until=st.integers(60, 100))
def test_rows_that_come_later_change_nothing_as_of_a_moment(later, until):
    config = row_clock(split={"purge": "2 rows"})
    now, afterwards = counted(100), counted(100 + later)
    before, after = (divide(rows, config, until=float(until)) for rows in (now, afterwards))
    assert before.fingerprint == after.fingerprint
    assert before.plan == after.plan


def test_a_stored_plan_divides_a_longer_history_as_before():
    plan = plan_split(counted(100), row_clock(split={"purge": "2 rows"}))
    stored = SplitPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert stored == plan
    now, later = assign_parts(counted(100), plan), assign_parts(counted(150), stored)
    assert [times(getattr(now, part)) for part in PARTS] == [times(getattr(later, part)) for part in PARTS]


def test_windows_of_time_hold_as_many_hours_as_they_say():
    config = model_config(
        data={"time": "at"},
        evaluation={"validation_window": "2d"},
        retraining={"window": "10d"},
        split={"holdout": "3d", "min_rows": 1},
    )
    parts = divide(hourly(24 * 30), config)
    assert [len(parts.training), len(parts.holdout), len(parts.evaluation)] == [240, 72, 48]
    assert parts.plan.evaluation.end == hourly(24 * 30).positions[-1] + 3600.0


def test_a_share_for_the_holdout_leaves_the_whole_retraining_window():
    # 10 days are learned from; the holdout is 20 % of 12.5 days = 2.5 days.
    config = model_config(
        data={"time": "at"},
        evaluation={"validation_window": "2d"},
        retraining={"window": "10d"},
        split={"holdout": 0.2},
    )
    parts = divide(hourly(24 * 30), config)
    assert [len(parts.training), len(parts.holdout)] == [240, 60]


def test_rows_may_measure_windows_of_a_clock_of_time():
    config = model_config(
        data={"time": "at"},
        evaluation={"validation_window": "50 rows"},
        retraining={"window": "100 rows"},
        split={"holdout": "30 rows", "purge": "4 rows"},
    )
    parts = divide(hourly(300), config)
    assert [len(parts.training), len(parts.holdout), len(parts.evaluation)] == [100, 30, 50]
    assert (parts.evaluation.positions[0] - parts.holdout.positions[-1]) / 3600 == 4


def test_a_window_of_months_holds_its_hours():
    # 6mo are half of 365.25 days: 182.625 days, 4,383 hours.
    config = model_config(
        data={"time": "at"},
        evaluation={"validation_window": "2d"},
        retraining={"window": "6mo"},
        split={"holdout": "3d"},
    )
    assert len(divide(hourly(24 * 250), config).training) == 4383


def since_change(fewest, **sections):
    retraining = {"window": "since_change", "min_rows_since_change": fewest}
    return row_clock(retraining=retraining, **sections)


def test_since_change_learns_and_holds_out_from_the_change_on():
    # Evaluation 80..99. Since 40 there are 40 rows before it; the holdout is a quarter of those, 70..79.
    parts = divide(counted(), since_change(20, split={"holdout": 0.25}), change_at=40.0)
    assert times(parts.training) == list(range(40, 70))
    assert times(parts.holdout) == list(range(70, 80))
    assert parts.plan.notes == ()


def test_since_change_reaches_back_for_enough_labelled_rows():
    # Rows 5, 15, … have no label. Before 80 a holdout of a quarter and 30 rows are 40 labelled rows: 36..79 without
    # 45, 55, 65 and 75. The holdout is the newest 10 of them, 69..79; the 30 before it are 36..68.
    rows = counted()
    rows = Rows(rows.frame.assign(y=rows.frame["y"].where(rows.frame["t"] % 10 != 5)), rows.positions)
    parts = divide(rows, since_change(30, split={"holdout": 0.25}), change_at=75.0)
    assert times(parts.holdout) == [t for t in range(69, 80) if t != 75]
    assert times(parts.training) == [t for t in range(36, 69) if t % 10 != 5]
    assert [note.code for note in parts.notes] == ["reaches_before_change"]


def test_since_change_counts_only_rows_whose_label_was_known_in_time():
    # Labels come 10 rows late: before the holdout at 60 the newest 20 known ones are 31..50.
    config = since_change(20, data={"label_delay": "10 rows"}, split={"holdout": "11 rows"})
    parts = divide(counted(), config, change_at=45.0)
    assert times(parts.holdout) == list(range(60, 71))
    assert times(parts.training) == list(range(31, 51))


def test_since_change_without_a_change_learns_from_all_and_says_so():
    parts = divide(counted(), since_change(20))
    assert times(parts.training) == times(divide(counted(), row_clock()).training)
    assert [note.code for note in parts.notes] == ["no_change_known"]


def test_a_change_that_comes_after_all_rows_leaves_the_fewest():
    parts = divide(counted(), since_change(30, split={"holdout": 0.25}), change_at=500.0)
    assert times(parts.training) == list(range(40, 70))


def test_a_refit_since_a_change_takes_all_rows_since_it():
    parts = divide(counted(), since_change(20), refit=True, change_at=75.0)
    assert times(parts.training) == list(range(75, 100))


def test_a_group_that_began_before_the_change_is_left_out():
    # Groups of 3 rows at 0, 2, 4 and 10, 12, 14, …: the one from 50 to 54 lies on both sides of 52.
    config = ranking(
        retraining={"window": "since_change", "min_rows_since_change": 5},
        split={"holdout": "20 rows"},
        evaluation={"validation_window": "30 rows"},
    )
    parts = divide(ranked([3] * 20, spread=2), config, change_at=52.0)
    assert parts.training.frame["race"].min() == 6


@pytest.mark.parametrize("refit", [False, True])
def test_a_plan_keeps_the_change_and_gives_the_same_parts_again(refit):
    config = since_change(20)
    plan = plan_split(counted(), config, refit=refit, change_at=40.0)
    stored = SplitPlan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert (40.0, plan) == (stored.change_at, stored)
    again = plan_split(counted(), config, refit=refit, change_at=stored.change_at)
    assert again == plan


def test_a_plan_stored_before_changes_were_known_is_still_read():
    plan = plan_split(counted(), row_clock())
    plain = plan.to_dict()
    del plain["change_at"]
    assert SplitPlan.from_dict(plain) == plan


@pytest.mark.parametrize("change", [np.nan, np.inf])
def test_a_change_that_is_no_point_of_the_clock_is_refused(change):
    with pytest.raises(InputError, match="is no point of the clock"):
        plan_split(counted(), since_change(20), change_at=change)


@given(later=st.integers(1, 60), until=st.integers(60, 100), change=st.integers(0, 120))
def test_rows_that_come_later_do_not_move_the_beginning_since_a_change(later, until, change):
    config = since_change(25, split={"purge": "2 rows"}, data={"label_delay": "3 rows"})
    before, after = (
        divide(counted(n), config, until=float(until), change_at=float(change)) for n in (100, 100 + later)
    )
    assert (before.fingerprint, before.plan) == (after.fingerprint, after.plan)


def test_max_rows_keeps_the_newest():
    parts = divide(counted(), row_clock(split={"holdout": 0.25, "max_rows": 10}))
    assert times(parts.training) == list(range(50, 60))


def test_max_rows_never_splits_a_moment():
    frame = pd.DataFrame({"t": np.repeat(np.arange(25), 4), "y": [0, 1] * 50})
    rows = Rows(frame, frame["t"].to_numpy(dtype=float))
    parts = divide(rows, row_clock(window="5 rows", split={"holdout": "5 rows", "max_rows": 10}))
    assert times(parts.training) == [13] * 4 + [14] * 4


def ranked(sizes, *, spread=0):
    """Return groups one after another; with a spread a group's rows are so many steps apart."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    within = np.concatenate([np.arange(size) for size in sizes])
    frame = pd.DataFrame({"race": group, "t": 10 * group + spread * within, "y": within})
    return Rows(frame, frame["t"].to_numpy(dtype=float))


def ranking(**sections):
    return model_config(
        "ranking",
        data={"time": "t", "clock": "rows", "group": "race", **sections.pop("data", {})},
        retraining=sections.pop("retraining", {"window": "full"}),
        **sections,
    )


@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=20, max_size=60),
    spread=st.integers(0, 3),
    window=st.integers(1, 200),
    purge=st.integers(0, 20),
    most=st.none() | st.integers(1, 50),
)
def test_groups_are_whole_in_one_part_and_boundaries_never_cut_them(sizes, spread, window, purge, most):
    rows = ranked(sizes, spread=spread)
    split = {"purge": f"{purge} rows", "max_rows": most}
    config = ranking(split=split, evaluation={"validation_window": f"{window} rows"})
    try:
        parts = divide(rows, config)
    except NotLearnable as error:
        if error.reason_code != "too_few_rows":
            raise
        return
    whole = rows.frame["race"].value_counts()
    seen = set()
    for part in PARTS:
        found = getattr(parts, part).frame["race"].value_counts()
        assert found.to_dict() == whole[found.index].to_dict()
        assert not seen & set(found.index)
        seen |= set(found.index)


def test_groups_that_last_for_ever_cannot_be_divided():
    rows = counted(race=np.arange(100) % 3)
    with pytest.raises(NotLearnable, match="groups of 'race' are never split") as caught:
        divide(rows, ranking(evaluation={"validation_window": "20 rows"}))
    assert caught.value.reason_code == "too_few_rows"


@settings(max_examples=60)
@given(
    gaps=st.lists(st.integers(0, 5), min_size=40, max_size=120),
    purge=st.integers(0, 10),
    delay=st.integers(0, 10),
    window=st.integers(5, 60),
    holdout=st.floats(0.05, 0.5),
    known=st.randoms(use_true_random=False),
)
def test_no_part_knows_a_label_of_the_next(gaps, purge, delay, window, holdout, known):
    at = np.cumsum(gaps).astype(float)
    told = np.array([t + known.choice([0, 0, 0, 3, 30]) for t in at])
    frame = pd.DataFrame({"t": at, "known": told, "y": np.arange(len(at)) % 2})
    config = row_clock(
        window=f"{window} rows",
        data={"label_time": "known", "label_delay": f"{delay} rows"},
        split={"purge": f"{purge} rows", "holdout": holdout},
    )
    try:
        parts = divide(Rows(frame, at), config)
    except NotLearnable as error:
        if error.reason_code != "too_few_rows":
            raise
        return
    ready = [getattr(parts, part).frame["known"].to_numpy() + purge for part in PARTS]
    begin = [part.positions.min() if len(part) else np.inf for part in (parts.holdout, parts.evaluation)]
    assert ready[0].max() <= min(begin)
    assert len(parts.holdout) == 0 or ready[1].max() <= begin[1]
    assert len(parts.evaluation) > 0


def test_what_a_version_has_not_learned_from_begins_with_its_evaluation():
    rows = counted()
    parts = divide(rows, row_clock(split={"purge": "5 rows"}))
    assert rows.positions[unseen_rows(parts.plan, rows)].tolist() == list(range(80, 100))


def test_unseen_rows_hold_whole_groups_only():
    rows = ranked([3] * 20, spread=2)
    plan = plan_split(rows, ranking(evaluation={"validation_window": "50 rows"}))
    cut = SplitPlan(**{**plan.__dict__, "unseen_from": 152.0})
    assert rows.frame["race"][unseen_rows(cut, rows)].unique().tolist() == [16, 17, 18, 19]


def test_rows_without_a_clock_prove_nothing_about_a_split_by_time():
    plan = plan_split(counted(), row_clock())
    with pytest.raises(NotLearnable) as caught:
        unseen_rows(plan, Rows(counted().frame, None))
    assert caught.value.reason_code == "no_clock"


def test_a_refit_learns_from_all_and_has_seen_all_until_the_last_target_is_over():
    rows = counted()
    config = row_clock(split={"purge": "5 rows"}, data={"label_delay": "2 rows"})
    parts = divide(rows, config, refit=True)
    assert times(parts.training) == list(range(100))
    assert (len(parts.holdout), len(parts.evaluation)) == (0, 0)
    # Row 99 is known at 101, its purge is over at 106.
    later = counted(120)
    assert later.positions[unseen_rows(parts.plan, later)].tolist() == list(range(106, 120))


def test_a_refit_keeps_to_the_retraining_window():
    parts = divide(counted(), row_clock(retraining={"window": "30 rows"}), refit=True)
    assert times(parts.training) == list(range(70, 100))


def test_a_refit_with_a_purge_in_rows_of_a_clock_of_time_ends_some_time():
    config = model_config(data={"time": "at"}, split={"purge": "4 rows"}, retraining={"window": "full"})
    parts = divide(hourly(300), config, refit=True)
    later = hourly(320)
    assert np.flatnonzero(unseen_rows(parts.plan, later))[0] == 304


def test_a_foreign_model_is_judged_on_what_came_after_its_training():
    config = row_clock(split={"purge": "5 rows"})
    parts = divide(counted(), config, trained_to=60.0)
    assert times(parts.training) == list(range(60))
    # Row 59 is over at 64; the holdout ends where its purge meets the evaluation at 80.
    assert times(parts.holdout) == list(range(64, 76))
    assert times(parts.evaluation) == list(range(80, 100))
    assert not unseen_rows(parts.plan, counted())[:80].any()


def test_a_foreign_model_that_has_seen_all_is_refused():
    with pytest.raises(NotLearnable) as caught:
        divide(counted(), row_clock(), trained_to=100.0)
    assert caught.value.reason_code == "nothing_unseen"


@pytest.mark.parametrize(
    ("rows", "options", "code"),
    [
        (counted(0), {}, "too_few_rows"),
        (Rows(counted().frame.assign(y=np.nan), counted().positions), {}, "no_labels"),
        (counted(15), {}, "too_few_rows"),
        (counted(), {"until": 0.0}, "no_labels"),
    ],
)
def test_a_part_that_would_be_empty_is_named(rows, options, code):
    with pytest.raises(NotLearnable) as caught:
        divide(rows, row_clock(), **options)
    assert caught.value.reason_code == code


def test_a_window_nobody_chose_gives_way_where_it_does_not_fit():
    parts = divide(counted(), model_config(data={"time": "t", "clock": "rows"}))
    assert [len(parts.training), len(parts.holdout), len(parts.evaluation)] == [68, 12, 20]
    assert [note.code for note in parts.notes] == ["validation_window_translated"]


@pytest.mark.parametrize(("hours", "held"), [(24 * 9, 44), (24 * 60, 24 * 7)])
def test_the_default_week_is_used_where_it_leaves_enough_to_learn_from(hours, held):
    # In 9 days a week would be more than half, so the newest fifth (44 of 216 hours, rounded up) is taken.
    assert len(divide(hourly(hours), model_config(data={"time": "at"})).evaluation) == held


def test_a_window_somebody_chose_is_never_replaced():
    config = model_config(data={"time": "at"}, evaluation={"validation_window": "8d"})
    with pytest.raises(NotLearnable, match=r"Shorten evaluation\.validation_window"):
        divide(hourly(24 * 8), config)


def test_duplicates_are_reported_and_dropped_only_when_asked():
    frame = pd.DataFrame({"t": np.repeat(np.arange(50), 2), "y": np.repeat([0, 1], 50)})
    rows = Rows(frame, frame["t"].to_numpy(dtype=float))
    plan = plan_split(rows, row_clock(window="10 rows"))
    kept, dropped = assign_parts(rows, plan), assign_parts(rows, plan, drop_duplicates=True)
    assert (kept.duplicates, dropped.duplicates) == (50, 50)
    assert len(kept.evaluation) == 2 * len(dropped.evaluation) == 20
    assert [note.code for note in kept.notes] == ["duplicate_rows"]


def test_dividing_rows_leaves_the_frame_as_it_was():
    rows = counted()
    before = rows.frame.copy()
    divide(rows, row_clock())
    pd.testing.assert_frame_equal(rows.frame, before)


def test_order_in_the_source_does_not_change_the_parts():
    rows = counted()
    shuffled = rows.take(np.random.default_rng(0).permutation(100))
    assert divide(shuffled, row_clock()).fingerprint == divide(rows, row_clock()).fingerprint


def test_plans_name_their_windows_for_people_too():
    plan = plan_split(
        hourly(24 * 30), model_config(data={"time": "at"}, evaluation={"validation_window": "2d"})
    )
    assert plan.to_dict()["evaluation"]["from"] == "2023-12-12T00:00:00+00:00"
    assert plan.evaluation == Window(1702339200.0, 1702512000.0)


def test_a_group_that_is_not_over_as_of_the_moment_is_not_used():
    # Groups of 3 rows at 0, 2, 4 and 10, 12, 14, …: as of 153 the group at 150, 152, 154 is not over.
    config = ranking(evaluation={"validation_window": "25 rows"})
    assert divide(ranked([3] * 20, spread=2), config, until=153.0).evaluation.frame["race"].max() == 14


def test_a_group_of_which_a_label_is_not_known_yet_is_not_used():
    rows = ranked([3] * 20)
    late = rows.frame.assign(known=rows.frame["t"] + np.where(rows.frame["y"] == 2, 25, 0))
    config = ranking(data={"label_time": "known"}, evaluation={"validation_window": "30 rows"})
    parts = divide(Rows(late, rows.positions), config, until=200.0)
    assert parts.evaluation.frame["race"].max() == 17


def test_a_moment_before_the_first_row_is_named_with_what_to_do():
    rows = counted(0)
    with pytest.raises(NotLearnable, match=r"No row of the source lies before .*-5.*Give a later --until"):
        plan_split(rows, row_clock(), until=-5.0)
    with pytest.raises(NotLearnable, match="The source holds no rows"):
        plan_split(rows, row_clock())
