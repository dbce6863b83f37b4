"""What a monitoring run leaves in Prefect and MLflow, described; and the sample that Evidently's page is drawn from."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from evergreen.tasks.core.drift.types import DriftKind, Level
from evergreen.tasks.core.log_items import Json, Metrics, Tags, Text
from evergreen.tasks.core.reports.drift_page import drift_page, headline
from evergreen.tasks.core.reports.monitored_model import MonitoredModel
from evergreen.tasks.core.reports.monitoring import (
    DOCUMENT,
    DRIFT_PAGE,
    EVIDENTLY_PAGE,
    compare_columns,
    draw_sample,
    frozen_sample,
    monitoring_items,
    monitoring_markdown,
    moved_rows,
    sample_frame,
    window_metrics,
)
from evergreen.tasks.core.verdict import Reason, StageResult, State
from tests.support.monitoring import (
    example_windows,
    insufficient,
    measure,
    monitored_model,
    moved,
    performance,
    verdict,
    window,
)
from tests.support.training_data import make_frame, make_rows, model_config, schema

DATA = DriftKind.DATA


def concluded(windows, state=State.DRIFT, **details):
    return StageResult(
        state=state, model="tested", version=3, decision_id="d1", details={"windows": windows, **details}
    )


def drawn(frame, *, seed=0, private=(), rows=5000):
    config = model_config(data={"private": list(private)}, monitoring={"report_rows": rows})
    return draw_sample(frame, schema=schema(), config=config, rng=np.random.default_rng(seed))


def test_the_summary_says_state_sentence_advice_and_what_moved():
    page = monitoring_markdown(monitored_model(6, 60), run_url="http://mlflow/#/x")
    assert page.startswith("# tested: Drift\n\namount_0 moved since")
    assert (
        "| amount_0 | data | alarm | location (mean rank) | 0.15 | 0.05 | > 0.9999 | 2024-03-02 18:00 |"
        in page
    )
    assert (
        "12 rows are too few to judge data drift by; 100 would do. (1 window, the newest 2024-03-01 20:00)"
        in page
    )
    assert page.endswith("in MLflow](http://mlflow/#/x)")


def test_a_quiet_summary_has_no_table_of_moves():
    page = monitoring_markdown(monitored_model(told=[window(0, verdicts=[verdict(DATA)])]))
    assert "Nothing to do." in page
    assert "## Moved" not in page


def test_a_name_with_a_bar_stays_in_its_cell():
    told = [window(0, verdicts=[verdict(DATA, moved("a|b\nc"))])]
    (line,) = [
        line
        for line in monitoring_markdown(monitored_model(told=told)).splitlines()
        if line.startswith("| a")
    ]
    assert line.startswith("| a\\|b c | data |")


def test_moved_rows_are_flat_and_go_into_json():
    rows = moved_rows(monitored_model(20, 40))
    assert ["amount_0", "amount_1"] == sorted(row["column"] for row in rows if row["kind"] == "data")
    json.dumps(rows, allow_nan=False)


def test_a_window_gives_its_greatest_psi_its_moves_and_its_metric():
    one = window(
        0,
        verdicts=[verdict(DATA, moved("a"), moved("b", alarm=False))],
        labelled=80,
        columns=[measure("a", 0.3), measure("b", 0.1), measure("c", None)],
        performance=performance(0.7),
    )
    assert {
        "rows": 500,
        "labelled_rows": 80,
        "moved_columns": 2,
        "alarmed_columns": 1,
        "psi_max": 0.3,
        "psi_mean": 0.2,
        "roc_auc": 0.7,
    } == pytest.approx(window_metrics(one))


def test_what_was_not_measured_is_no_metric_and_an_estimate_bears_its_own_name():
    bare = window(0, verdicts=[insufficient(DATA, 3)], n=3)
    assert {"rows", "labelled_rows", "moved_columns", "alarmed_columns"} == set(window_metrics(bare))
    guessed = window_metrics(window(0, performance=performance(0.7, estimated=True)))
    assert (0.7, False) == (guessed["estimated_roc_auc"], "roc_auc" in guessed)
    unknown = window_metrics(window(0, performance=performance(math.nan)))
    assert not {"roc_auc", "estimated_roc_auc"} & set(unknown)


def test_the_run_holds_both_pages_the_document_and_a_step_a_window():
    told = example_windows(3, 4)
    result = concluded(told)
    items = list(
        monitoring_items(
            MonitoredModel.after(result, config=model_config()), result, evidently="<html>e</html>"
        )
    )
    steps = [item.step for item in items if isinstance(item, Metrics)]
    assert [int(one["start"]) for one in told] == steps
    texts = {item.path: item.content for item in items if isinstance(item, Text)}
    assert {DRIFT_PAGE, EVIDENTLY_PAGE, "monitoring.md"} == set(texts)
    (document,) = [item for item in items if isinstance(item, Json)]
    assert (DOCUMENT, "Drift", 4) == (
        document.path,
        document.content["state"],
        len(document.content["windows"]),
    )
    (tags,) = [item.values for item in items if isinstance(item, Tags)]
    assert ("Drift", "3", "d1") == tuple(
        tags[f"evergreen.{name}"] for name in ("state", "version", "decision")
    )


def test_without_a_second_page_none_is_logged():
    result = concluded(example_windows(3, 2))
    items = monitoring_items(MonitoredModel.after(result, config=model_config()), result)
    assert EVIDENTLY_PAGE not in {getattr(item, "path", None) for item in items}


def test_the_page_concludes_as_the_run_did_and_names_alarms_that_have_not_resolved():
    quiet = [window(place, verdicts=[verdict(DATA)]) for place in range(3)]
    alarm = {"kind": "data", "column": "age", "since": "2024-02-27T05:00:00+00:00"}
    seen = MonitoredModel.after(concluded(quiet, open_alarms=[alarm]), config=model_config())
    assert Level.DRIFT is seen.level
    assert "not resolved yet: age (data, since 2024-02-27 05:00)." == headline(seen)
    assert "not resolved yet" in drift_page(seen)


def test_an_alarm_whose_column_still_moves_is_told_once():
    told = [window(place, verdicts=[verdict(DATA, moved("age"))]) for place in range(2)]
    alarm = {"kind": "data", "column": "age", "since": told[0]["from"]}
    seen = MonitoredModel.after(concluded(told, open_alarms=[alarm]), config=model_config())
    assert "age moved since 2024-03-01 (inputs, drift)." == headline(seen)


def test_notes_are_told():
    note = Reason(code="switched_off", message="Evidently's page is switched off.")
    assert "- Evidently's page is switched off." in monitoring_markdown(monitored_model(3, 2), notes=[note])


def test_a_sample_is_bounded_seeded_and_without_private_columns():
    frame = make_frame(n=300)
    one, again, other = drawn(frame, rows=50), drawn(frame, rows=50), drawn(frame, rows=50, seed=1)
    assert one == again != other
    assert (50, 3) == sample_frame(one).shape
    assert ["noise", "signal"] == sorted(sample_frame(drawn(frame, private=["colour"])).columns)
    json.dumps(one, allow_nan=False)


def test_a_small_frame_is_taken_whole_and_left_as_it_was():
    frame = make_frame(n=20)
    before = frame.copy(deep=True)
    sample = sample_frame(drawn(frame))
    pd.testing.assert_frame_equal(before, frame)
    assert np.allclose(frame["signal"], sample["signal"], rtol=1e-6)
    assert frame["colour"].tolist() == sample["colour"].tolist()


def test_what_is_missing_or_infinite_is_null_in_a_sample():
    frame = make_frame(n=4).assign(noise=[np.inf, -np.inf, np.nan, 1.5], colour=[None, 1.0, 1, "red"])
    sample = drawn(frame)
    assert [None, None, None, 1.5] == sample["numeric"]["noise"]
    assert [None, "1", "1", "red"] == sample["categorical"]["colour"]


def test_no_sample_is_frozen_where_the_page_is_switched_off():
    rows = make_rows()
    off = model_config(monitoring={"report_rows": 0})
    assert {} == frozen_sample(rows, schema=schema(), config=off)
    assert {"sample"} == set(frozen_sample(rows, schema=schema(), config=model_config()))


def test_columns_that_cannot_be_compared_are_named_with_the_reason():
    reference = {
        "numeric": {"a": [1.0], "gone": [1.0], "turned": [1.0], "pin": [1.0]},
        "categorical": {"c": ["x"]},
    }
    current = {
        "numeric": {"a": [2.0], "new": [1.0], "pin": [1.0]},
        "categorical": {"c": [None], "turned": ["x"]},
    }
    compared = compare_columns(reference, current, private=frozenset({"pin"}))
    assert (("a",), ()) == (compared.numeric, compared.categorical)
    assert {
        "c": "no value in the sample of the window",
        "gone": "the window has no such column",
        "new": "the reference has no such column",
        "pin": "private",
        "turned": "numeric in the reference, categorical in the window",
    } == compared.left_out
