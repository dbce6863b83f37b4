"""One contract for every log of predictions: in memory, on SQLite, on a real PostgreSQL."""

import math
from datetime import timedelta

import numpy as np
import pytest

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Prediction, ShadowScore
from evergreen.tasks.io.prediction_log.store import Log
from tests.support.logs import LOGS, MODEL, NOW, new_log
from tests.support.processes import race

EVER = Window()


def append_all(url, count):
    """Append the same predictions as everybody else."""
    served = [
        Prediction(prediction_id=f"p{number}", position=float(number), features={"x": number})
        for number in range(count)
    ]
    Log(url).append_predictions("fraud", served, at=NOW)


@pytest.fixture(params=LOGS)
def log(request, tmp_path):
    return new_log(request.param, tmp_path, request)


def served(number, **more):
    values = {
        "prediction_id": f"p{number}",
        "position": float(number),
        "features": {"x": number / 2, "c": "ab"[number % 2]},
        "score": number / 10,
        "decision": number % 2,
        "version": 3,
        "entity": "ada",
    }
    return Prediction(**{**values, **more})


def known(number, outcome=1, known_at=0.0):
    return KnownOutcome(prediction_id=f"p{number}", outcome=outcome, known_at=known_at)


def append(log, *numbers, model=MODEL):
    return log.append_predictions(model, [served(number) for number in numbers], at=NOW)


def test_a_window_is_read_in_clock_order_with_what_was_asked_and_answered(log):
    log.append_predictions(MODEL, [served(1, variant="blue")], at=NOW)
    append(log, 3, 2, 5)
    append(log, 2, model="churn")
    log.append_outcomes(MODEL, [known(number, known_at=7.5) for number in (1, 2, 3)], at=NOW)
    rows = log.read_predictions(MODEL, Window(1.0, 5.0)).rows
    assert rows.positions.tolist() == [1.0, 2.0, 3.0]
    assert rows.frame.to_dict("list") == {
        "c": ["b", "a", "b"],
        "x": [0.5, 1.0, 1.5],
        "@score": [0.1, 0.2, 0.3],
        "@decision": [1, 0, 1],
        "@version": [3, 3, 3],
        "@variant": ["blue", None, None],
        "@entity": ["ada", "ada", "ada"],
        "@prediction_id": ["p1", "p2", "p3"],
        "@known_at": [7.5, 7.5, 7.5],
        "@outcome": [1, 1, 1],
    }


def test_a_score_a_class_becomes_a_column_a_class(log):
    log.append_predictions(
        MODEL,
        [
            served(1, score={"red": 0.25, "blue": 0.75}, decision="blue"),
            served(2, score=None, decision="red"),
        ],
        at=NOW,
    )
    frame = log.read_predictions(MODEL, EVER).rows.frame
    assert frame["@score:red"].tolist()[0] == 0.25
    assert math.isnan(frame["@score:blue"].tolist()[1])
    assert frame["@decision"].tolist() == ["blue", "red"]


def test_values_of_numpy_times_and_nothing_are_logged_as_json_says_them(log):
    features = {"n": np.int64(7), "f": np.float32(0.5), "none": float("nan"), "at": NOW, "b": np.bool_(True)}
    log.append_predictions(MODEL, [served(1, features=features)], at=NOW)
    row = log.read_predictions(MODEL, EVER).rows.frame.iloc[0]
    assert (row["n"], row["f"], row["none"], row["at"], row["b"]) == (7, 0.5, None, NOW.isoformat(), True)


def test_a_number_that_was_null_in_some_rows_is_a_number(log):
    log.append_predictions(MODEL, [served(n, features={"x": [1, None][n % 2]}) for n in range(4)], at=NOW)
    column = log.read_predictions(MODEL, EVER).rows.frame["x"]
    assert column.dtype == np.float64
    assert column.isna().tolist() == [False, True, False, True]


def test_the_same_id_again_changes_nothing(log):
    assert append(log, 1, 2) == 2
    later = NOW + timedelta(hours=1)
    again = [served(2), served(3, features={"c": "b", "x": 1.5}), served(2)]
    assert log.append_predictions(MODEL, again, at=later) == 1
    assert append(log, 3) == 0
    assert len(log.read_predictions(MODEL, EVER).rows) == 3
    assert append(log, 1, model="churn") == 1


@pytest.mark.parametrize(
    "other", [{"score": 0.9}, {"position": 9.0}, {"decision": "a"}, {"features": {}}, {"version": 4}]
)
def test_the_same_id_with_another_content_is_refused_by_name(log, other):
    append(log, 1)
    with pytest.raises(InputError, match="'p1' is in the log with another content"):
        log.append_predictions(MODEL, [served(1, **other)], at=NOW)
    with pytest.raises(InputError, match="'p7'"):
        log.append_predictions(MODEL, [served(7), served(7, **other)], at=NOW)
    assert log.read_predictions(MODEL, EVER).rows.frame["@score"].tolist()[0] == 0.1


def test_a_position_that_is_none_is_refused_by_name(log):
    with pytest.raises(InputError, match="'p1' has the position nan"):
        log.append_predictions(MODEL, [served(1, position=float("nan"))], at=NOW)
    with pytest.raises(InputError, match="cannot be logged"):
        log.append_predictions(MODEL, [served(1, features={"x": float("inf")})], at=NOW)
    assert len(log.read_predictions(MODEL, EVER).rows) == 0


def test_outcomes_join_their_predictions_whichever_came_first(log):
    log.append_outcomes(MODEL, [known(1, outcome="yes")], at=NOW)
    append(log, 1, 2)
    log.append_outcomes(MODEL, [known(2, outcome="no")], at=NOW)
    log.append_outcomes("churn", [known(1, outcome="maybe")], at=NOW)
    frame = log.read_predictions(MODEL, EVER, target="y").rows.frame
    assert frame["y"].tolist() == ["yes", "no"]
    assert "@outcome" not in frame


def test_outcomes_known_too_late_are_unknown_and_counted(log):
    append(log, 1, 2, 3)
    log.append_outcomes(MODEL, [known(1, known_at=10.0), known(2, known_at=10.5)], at=NOW)
    read = log.read_predictions(MODEL, EVER, known_by=10.0)
    assert read.rows.frame["@outcome"].fillna(-1).tolist() == [1, -1, -1]
    assert read.late == 1
    assert log.read_predictions(MODEL, EVER).late == 0


def test_an_outcome_is_written_once(log):
    assert log.append_outcomes(MODEL, [known(1), known(1)], at=NOW) == 1
    assert log.append_outcomes(MODEL, [known(1)], at=NOW) == 0
    with pytest.raises(InputError, match="'p1'"):
        log.append_outcomes(MODEL, [known(1, outcome=0)], at=NOW)


def test_the_same_outcome_that_became_known_again_changes_nothing(log):
    append(log, 1)
    assert log.append_outcomes(MODEL, [known(1, known_at=5.0), known(1, known_at=6.0)], at=NOW) == 1
    assert log.append_outcomes(MODEL, [known(1, outcome=1.0, known_at=9.0)], at=NOW) == 0
    assert log.read_predictions(MODEL, EVER).rows.frame["@known_at"].tolist() == [5.0]


def test_rows_of_one_variant_are_read_by_its_name(log):
    arms = ["champion", "blue", "champion", "blue"]
    log.append_predictions(MODEL, [served(n, variant=arm) for n, arm in enumerate(arms)], at=NOW)
    assert log.read_predictions(MODEL, EVER, variant="blue").rows.positions.tolist() == [1.0, 3.0]
    assert log.read_predictions(MODEL, Window(2.0), variant="blue").rows.positions.tolist() == [3.0]
    assert len(log.read_predictions(MODEL, EVER, variant="green").rows) == 0


def said(variant, score, version=4):
    return ShadowScore(variant=variant, version=version, score=score, decision=int(score > 0.5))


def test_what_shadows_said_reads_like_what_was_served_and_is_paired_by_id(log):
    append(log, 1, 2, 3)
    append(log, 2, model="churn")
    log.append_outcomes(MODEL, [known(2, known_at=7.0)], at=NOW)
    shadowed = [
        ("p2", said("night", 0.75)),
        ("p1", said("night", 0.25)),
        ("p2", said("dusk", 0.5, version=None)),
    ]
    assert log.append_shadows(MODEL, shadowed) == 3
    frame = log.read_shadows(MODEL, EVER, target="y").rows.frame
    assert frame.drop(columns=["@version", "@known_at", "y"]).to_dict("list") == {
        "c": ["b", "a", "a"],
        "x": [0.5, 1.0, 1.0],
        "@score": [0.25, 0.5, 0.75],
        "@decision": [0, 0, 1],
        "@variant": ["night", "dusk", "night"],
        "@entity": ["ada", "ada", "ada"],
        "@prediction_id": ["p1", "p2", "p2"],
    }
    assert frame["@version"].fillna(-1).tolist() == [4, -1, 4]
    assert frame["y"].fillna(-1).tolist() == [-1, 1, 1]
    assert log.read_shadows(MODEL, Window(2.0), variant="night").rows.positions.tolist() == [2.0]
    assert log.read_shadows(MODEL, EVER, known_by=6.0).late == 2
    assert log.read_predictions(MODEL, EVER).rows.positions.tolist() == [1.0, 2.0, 3.0]


def test_a_shadow_is_heard_once_and_only_of_what_was_served(log):
    append(log, 1)
    assert log.append_shadows(MODEL, [("p1", said("night", 0.25)), ("p7", said("night", 0.25))]) == 1
    assert log.append_shadows(MODEL, [("p1", said("night", 0.75))]) == 0
    append(log, 7)
    frame = log.read_shadows(MODEL, EVER).rows.frame
    assert (frame["@prediction_id"].tolist(), frame["@score"].tolist()) == (["p1"], [0.25])


def test_the_newest_position_may_be_asked_up_to_a_moment(log):
    assert log.newest_position(MODEL) is None
    append(log, 1, 5, 3)
    assert log.newest_position(MODEL) == 5.0
    assert log.newest_position(MODEL, until=4.0) == 3.0
    assert log.newest_position(MODEL, until=0.0) is None


def test_positions_are_ascending_from_a_frontier_on(log):
    append(log, 4, 2, 9, 3)
    assert log.positions(MODEL).tolist() == [2.0, 3.0, 4.0, 9.0]
    assert log.positions(MODEL, since=3.0).tolist() == [3.0, 4.0, 9.0]
    assert log.positions("churn").tolist() == []


@pytest.mark.parametrize("kind", LOGS)
def test_a_purge_takes_predictions_before_a_position_with_their_outcomes(kind, tmp_path, request):
    log = new_log(kind, tmp_path, request, chunk=2)
    append(log, *range(8))
    append(log, 0, model="churn")
    for model in (MODEL, "churn"):
        log.append_shadows(model, [(f"p{n}", said("night", 0.5)) for n in range(8)])
    log.append_outcomes(MODEL, [known(n, known_at=20.0) for n in range(8)], at=NOW)
    log.append_outcomes(MODEL, [known(99, known_at=1.0)], at=NOW)
    assert log.purge_predictions(MODEL, before=5.0) == 5
    assert log.positions(MODEL).tolist() == [5.0, 6.0, 7.0]
    assert log.positions("churn").tolist() == [0.0]
    assert len(log.read_shadows("churn", EVER).rows) == 1
    # What was purged may come again under its old name: neither it nor its outcome is remembered.
    assert log.append_outcomes(MODEL, [known(n, outcome=0) for n in (0, 4, 99)], at=NOW) == 3
    append(log, *range(5))
    assert log.read_shadows(MODEL, EVER).rows.positions.tolist() == [5.0, 6.0, 7.0]
    with pytest.raises(InputError, match="'p5'"):
        log.append_outcomes(MODEL, [known(5, outcome=0)], at=NOW)


def test_more_than_a_chunk_is_written_and_read(log):
    many = [served(number) for number in range(500 * 2 + 7)]
    assert log.append_predictions(MODEL, many, at=NOW) == len(many)
    assert log.append_predictions(MODEL, many, at=NOW) == 0
    assert log.read_predictions(MODEL, EVER).rows.positions.tolist() == [float(n) for n in range(len(many))]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_of_processes_that_append_the_same_each_prediction_is_written_once(store, tmp_path, request):
    url = f"sqlite:///{tmp_path / 'log.db'}"
    url = request.getfixturevalue("postgres_url") if store == "postgres" else url
    log = Log(url)
    race(append_all, [(url, 1200)] * 4)
    assert log.positions(MODEL).tolist() == [float(n) for n in range(1200)]


def test_the_newest_position_may_be_asked_of_some_variants(log):
    log.append_predictions(
        MODEL, [served(1, variant="blue"), served(2, variant="red"), served(9, variant="batch")], at=NOW
    )
    assert log.newest_position(MODEL, variants=["blue"]) == 1.0
    assert log.newest_position(MODEL, variants=["blue", "red"]) == 2.0
    assert log.newest_position(MODEL, variants=["green"]) is None
