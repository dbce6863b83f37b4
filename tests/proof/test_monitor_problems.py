"""Multiclass, regression and ranking models, on clocks of rows, seconds and time, go through both phases."""

import pytest

from evergreen.tasks.core.verdict import State
from tests.support.champions import (
    PER_HOUR,
    TRAINED,
    MonitoredStores,
    make_rows,
    run_monitor,
    train_champion,
    values_of,
)

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]
KINDS = ["data", "prediction", "outcome", "concept", "performance"]


@pytest.mark.parametrize(
    ("problem", "clock"), [("multiclass", "rows"), ("regression", "seconds"), ("ranking", "timestamp")]
)
def test_each_problem_and_clock_is_judged_in_all_kinds(
    problem, clock, mlflow_template, tmp_path_factory, tmp_path, monkeypatch
):
    folder = tmp_path_factory.mktemp(problem)
    rows = make_rows(problem, hours=TRAINED + 3, clock=clock)
    store = train_champion(folder, mlflow_template, rows, values_of(problem, clock=clock))
    setup = MonitoredStores(tmp_path, store, monkeypatch).setup(rows, problem=problem, clock=clock)
    length = float(PER_HOUR) if clock == "rows" else 3600.0
    result = run_monitor(setup)
    windows = result.details["windows"]
    assert {length} == {window["end"] - window["start"] for window in windows}
    assert len(windows) >= 29
    judged = [window for window in windows if "outcome" in window["verdicts"]]
    assert len(judged) >= len(windows) - 2
    assert [KINDS] * len(judged) == [list(window["verdicts"]) for window in judged]
    assert "insufficient" not in {level for window in judged for level in window["verdicts"].values()}
    assert State.DRIFT is not result.state
    measured = [window["performance"] for window in judged]
    assert {False} == {one["estimated"] for one in measured}
    assert {PER_HOUR // 8 if problem == "ranking" else PER_HOUR} == {one["n"] for one in measured}
