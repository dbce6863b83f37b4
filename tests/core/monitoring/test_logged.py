"""Logged answers stand for a version's own ones, and only for its own."""

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.setup import with_logged_answers


def scored(score, classes=("no", "yes"), label=("no", "no", "yes", "yes")):
    return Scored(
        y=np.array(["no"] * 4),
        score=np.array(score, dtype=float),
        label=np.array(label, dtype=object),
        classes=classes,
        positive_class=classes[1] if len(classes) == 2 else None,
    )


NOW = scored([0.1, 0.2, 0.6, 0.9])


def rows(**columns):
    frame = pd.DataFrame({"x": range(4), **columns})
    return Rows(frame, np.arange(4.0))


def test_the_versions_own_answers_replace_what_it_would_say_now():
    logged = rows(
        **{
            "@version": [2, 2, 1, None],
            "@score": [0.7, 0.8, 0.3, 0.4],
            "@decision": ["yes", None, "no", "no"],
        }
    )
    found = with_logged_answers(NOW, logged, version=2)
    assert [0.7, 0.8, 0.6, 0.9] == found.score.tolist()
    assert ["yes", "no", "yes", "yes"] == found.label.tolist()


def test_a_logged_answer_that_is_no_number_is_none():
    logged = rows(**{"@version": [2] * 4, "@score": [np.nan, np.inf, 0.5, None]})
    assert [0.1, 0.2, 0.5, 0.9] == with_logged_answers(NOW, logged, version=2).score.tolist()


def test_scores_of_all_classes_replace_a_row_together():
    now = scored(np.full((4, 3), 1 / 3), classes=("a", "b", "c"), label=["a"] * 4)
    columns = {f"@score:{name}": [0.2, np.nan, 0.4, 0.5] for name in "ab"}
    logged = rows(**{"@version": [1] * 4, **columns, "@score:c": [0.6, 0.3, 0.2, 0.0]})
    found = with_logged_answers(now, logged, version=1).score
    assert [[0.2, 0.2, 0.6], [1 / 3] * 3, [0.4, 0.4, 0.2], [0.5, 0.5, 0.0]] == found.tolist()


@pytest.mark.parametrize("columns", [{}, {"@version": [2] * 4}, {"@score": [0.5] * 4}])
def test_rows_without_answers_leave_what_the_version_would_say(columns):
    assert with_logged_answers(NOW, rows(**columns), version=2) is NOW


def test_the_given_answers_are_left_as_they_were():
    with_logged_answers(NOW, rows(**{"@version": [2] * 4, "@score": [0.5] * 4}), version=2)
    assert [0.1, 0.2, 0.6, 0.9] == NOW.score.tolist()


def test_a_window_without_rows_has_no_answers_to_replace():
    empty = Scored(
        y=np.array([]), score=np.array([]), label=None, classes=("no", "yes"), positive_class="yes"
    )
    none = Rows(pd.DataFrame({"@version": [], "@score": []}), np.zeros(0))
    assert with_logged_answers(empty, none, version=1) is empty
