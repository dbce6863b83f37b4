"""Naive baselines: shares, means, the last known outcome, a random order."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.training.baseline import baseline_kinds, baseline_scores, last_known
from evergreen.tasks.core.training.features import ModelSpec
from tests.support.training_data import make_rows, model_config, schema

CLASSES = ("no", "yes")


def rows_of(y, start=0, **columns):
    return Rows(pd.DataFrame({"y": y} | columns), np.arange(start, start + len(y), dtype=float))


def answers(kind, training, rows, *, config=None, classes=CLASSES, seed=0, roles=None, history=None):
    config = config or model_config(data={"time": "at", "clock": "rows"})
    return baseline_scores(
        kind,
        ModelSpec(roles or schema(), config, classes),
        training=training,
        rows=rows,
        rng=np.random.default_rng(seed),
        history=history,
    )


def test_the_constant_answer_is_the_share_of_the_training_rows():
    scored = answers("constant", rows_of(["yes", "no", "no", "no"]), rows_of(["yes", "no"], 4))
    assert [0.25, 0.25] == scored.score.tolist()
    assert ["no", "no"] == scored.label.tolist()


def test_the_constant_answer_of_a_regression_is_the_mean():
    config = model_config("regression", data={"time": "at", "clock": "rows"})
    scored = answers("constant", rows_of([1.0, 2.0, 6.0]), rows_of([0.0], 3), config=config, classes=())
    assert [3.0] == scored.score.tolist()


def test_persistence_answers_the_last_outcome_of_a_regression():
    config = model_config("regression", data={"time": "at", "clock": "rows"})
    scored = answers("persistence", rows_of([1.0, 7.0]), rows_of([5.0, 9.0], 2), config=config, classes=())
    assert [7.0, 5.0] == scored.score.tolist()


def test_persistence_sees_only_outcomes_known_at_the_moment():
    config = model_config("regression", data={"time": "at", "clock": "rows", "label_delay": "2 rows"})
    scored = answers(
        "persistence", rows_of([1.0, 2.0, 3.0]), rows_of([8.0, 9.0], 3), config=config, classes=()
    )
    # at 3 the outcome of row 0 is known (0 + 2 < 3), at 4 that of row 1
    assert [1.0, 2.0] == scored.score.tolist()


def test_persistence_answers_with_what_followed_in_training():
    # after no: no, no, yes; after yes: no. With half a count in each cell: P(yes|no) = 1.5/4, P(yes|yes) = .5/2
    scored = answers("persistence", rows_of(["no", "no", "no", "yes", "no"]), rows_of(["yes", "no"], 5))
    assert [1.5 / 4, 0.5 / 2] == pytest.approx(scored.score)


def test_persistence_follows_each_entity():
    config = model_config("regression", data={"time": "at", "clock": "rows", "entity": "who"})
    training = rows_of([1.0, 100.0], who=["a", "b"])
    rows = rows_of([0.0, 0.0, 0.0], 2, who=["b", "a", "new"])
    scored = answers("persistence", training, rows, config=config, classes=(), roles=schema(entity="who"))
    assert [100.0, 1.0, 50.5] == scored.score.tolist()


def test_persistence_reads_the_history_between_training_and_the_rows():
    config = model_config("regression", data={"time": "at", "clock": "rows"})
    found = answers(
        "persistence", rows_of([1.0]), rows_of([0.0], 2), config=config, classes=(), history=rows_of([4.0], 1)
    )
    assert [4.0] == found.score.tolist()


def test_persistence_without_a_clock_is_refused():
    rows = Rows(pd.DataFrame({"y": ["no", "yes"]}), None)
    with pytest.raises(DataError, match="needs a clock"):
        answers("persistence", rows, rows)


def test_the_newest_known_row_counts_not_the_one_that_arrived_last():
    # row 0 became known at 5, after row 1 (at 3)
    found = last_known(
        np.array([4.0, 6.0]), np.array([5.0, 3.0]), np.array([1, 2]), positions=np.array([0.0, 1.0])
    )
    assert [1, 1] == found.tolist()


def test_last_known_agrees_with_a_search_by_hand():
    rng = np.random.default_rng(5)
    positions = rng.permutation(40).astype(float)
    known = positions + rng.integers(0, 15, 40)
    moments = rng.random(25) * 60
    by_hand = [
        max((i for i in range(40) if known[i] < moment), key=lambda i: positions[i], default=-1)
        for moment in moments
    ]
    assert by_hand == last_known(moments, known, positions, positions=positions).tolist()


def test_a_ranking_is_answered_by_a_random_order():
    rows = make_rows("ranking", n=4000)
    config = model_config("ranking", data={"group": "race", "time": "at"})
    options = {"config": config, "classes": (), "roles": schema(group="race")}
    first, again = (answers("constant", rows, rows, **options, seed=1) for _ in range(2))
    assert np.array_equal(first.score, again.score)
    # of 8 rows in a random order one is as likely first as any other
    assert 1 / 8 == pytest.approx(get_metric("win_rate", problem="ranking")(first), abs=0.04)


def test_baselines_that_make_sense_depend_on_problem_and_clock():
    assert ("constant", "persistence") == baseline_kinds(model_config(), timed=True)
    assert ("constant",) == baseline_kinds(model_config(), timed=False)
    assert ("constant",) == baseline_kinds(model_config("ranking", data={"group": "g"}), timed=True)


def test_a_delay_in_rows_on_a_clock_of_time_ends_so_many_rows_later():
    config = model_config("regression", data={"time": "at", "clock": "seconds", "label_delay": "2 rows"})
    rows = Rows(pd.DataFrame({"y": [1.0, 2.0, 3.0]}), np.array([0.0, 10.0, 20.0]))
    later = Rows(pd.DataFrame({"y": [8.0, 9.0]}), np.array([30.0, 40.0]))
    scored = answers("persistence", rows, later, config=config, classes=())
    # at 30 the outcome of the row at 0 is known (two rows on: 20), at 40 that of the row at 10
    assert [1.0, 2.0] == scored.score.tolist()


def test_file_order_is_a_clock_too():
    config = model_config("regression", data={"clock": "rows", "label_delay": "1 rows"})
    scored = answers("persistence", rows_of([1.0, 2.0]), rows_of([8.0, 9.0], 2), config=config, classes=())
    assert [1.0, 2.0] == scored.score.tolist()


def test_each_entity_has_a_last_outcome_of_its_own():
    config = model_config("regression", data={"time": "at", "clock": "rows", "entity": "who"})
    train = rows_of([1.0, 7.0, 2.0], who=["a", "b", "a"])
    scored = answers(
        "persistence",
        train,
        rows_of([0.0, 0.0, 0.0], 3, who=["b", "a", "c"]),
        config=config,
        classes=(),
        roles=schema(entity="who"),
    )
    # c has no outcome yet: the mean of training
    assert pytest.approx([7.0, 2.0, 10 / 3]) == scored.score.tolist()
