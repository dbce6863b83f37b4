"""Answers of logged rows whose private columns are concealed: the served ones alone, and only the version's own."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.monitoring.setup import (
    concealed_features,
    describe_concealed,
    served_answers,
    show_missing,
)
from tests.support.training_data import model_config

SCHEMA = Schema(target="y", numeric=("x", "z"), group="race")


@dataclass
class Version:
    """A version that must not be asked."""

    classes: tuple = ()
    schema: Schema = SCHEMA
    threshold: float = 0.5


def config(problem, **sections):
    data = {"target": "y", "private": ["x"], **sections.pop("data", {})}
    return model_config(problem=problem, data=data, monitoring={"source": "log"}, **sections)


def logged(**columns):
    frame = pd.DataFrame({"x": "h:1", "z": [1.0, 2.0, 3.0], "@version": [1, 2, 1], **columns})
    return Rows(frame, np.arange(3.0))


def test_a_multiclass_version_s_own_rows_have_the_scores_that_were_served():
    rows = logged(**{"@score:a": [0.7, 0.1, 0.2], "@score:b": [0.3, 0.9, 0.8], "y": ["a", "b", "a"]})
    scored, own = served_answers(Version(classes=("a", "b")), rows, version=1, config=config("multiclass"))
    assert [True, False, True] == own.tolist()
    assert [[0.7, 0.3], [0.2, 0.8]] == scored.score.tolist()
    assert (["a", "b"], ["a", "a"]) == (scored.label.tolist(), scored.y.tolist())


def test_an_answer_that_failed_is_none_of_the_version_s():
    rows = logged(**{"@score": [0.7, 0.4, None], "y": [1.0, 2.0, 3.0]})
    scored, own = served_answers(Version(), rows, version=1, config=config("regression"))
    assert ([True, False, False], [0.7]) == (own.tolist(), scored.score.tolist())


def test_races_need_their_group():
    rows = logged(**{"@score": [0.7, 0.4, 0.1], "y": [1.0, 0.0, 2.0]})
    chosen = config("ranking", data={"group": "race", "private": ["x", "race"]})
    with pytest.raises(DataError, match="'race'"):
        served_answers(Version(), rows, version=1, config=chosen)
    rows = logged(race=["h:1", "h:1", "h:2"], **{"@score": [0.7, 0.4, 0.1], "y": [1.0, 0.0, 2.0]})
    assert 2 == len(np.unique(served_answers(Version(), rows, version=1, config=chosen)[0].group))


def test_hashes_become_missing_and_columns_left_out_are_there_again():
    chosen = config("regression", data={"value_column": "gain", "private": ["x", "w", "gain"]})
    shown = show_missing(logged(gain="h:2"), ["x", "w"], chosen).frame
    assert shown[["x", "w", "gain"]].isna().all(axis=None)
    assert [1.0, 2.0, 3.0] == shown["z"].tolist()


def test_only_features_are_concealed_and_only_where_the_log_is_watched():
    chosen = config("regression", data={"private": ["x", "y", "name"]})
    assert ("x",) == concealed_features(chosen, SCHEMA)
    assert "x" == describe_concealed(["x"], chosen).observed
    own = model_config(problem="regression", data={"target": "y", "private": ["x"]})
    assert () == concealed_features(own, SCHEMA)
