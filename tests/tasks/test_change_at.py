"""The position of a change on its way: to the rows that are loaded, and from a version to its refit."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import evergreen.tasks.challenge
from evergreen.tasks.challenge import prepare_refit
from evergreen.tasks.core.data.clock import parse_position
from evergreen.tasks.core.data.rows import SplitPlan
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.data import load_parts
from tests.support.training_data import model_config, setup_of

N = 24 * 30
CHANGE = parse_position("2026-01-11", clock="timestamp")


@pytest.fixture
def setup(tmp_path):
    frame = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=N, freq="h"), "n": np.arange(N)})
    frame.assign(y=frame["n"] % 2).to_csv(tmp_path / "rows.csv", index=False)
    config = model_config(
        data={"time": "at"},
        evaluation={"validation_window": "2d"},
        split={"holdout": "1d"},
        retraining={"window": "since_change", "min_rows_since_change": 100},
    )
    return setup_of(config, tmp_path)


@pytest.mark.parametrize(("refit", "last"), [(False, 27 * 24 - 1), (True, N - 1)])
def test_rows_are_loaded_from_the_change_on(setup, refit, last):
    parts = load_parts(setup, refit=refit, change_at=CHANGE)
    assert parts.training.frame["n"].tolist() == list(range(10 * 24, last + 1))
    assert parts.plan.change_at == CHANGE


def test_rows_without_a_clock_are_loaded_whatever_changed(tmp_path, setup):
    config = model_config(retraining={"window": "since_change"})
    plain, told = (load_parts(setup_of(config, tmp_path), change_at=change) for change in (None, CHANGE))
    assert plain.fingerprint == told.fingerprint


def test_a_refit_begins_at_the_change_its_judged_version_knew_of(setup, monkeypatch):
    asked = {}

    def load(_, **options):
        asked.update(options)
        raise NotLearnable("no_labels", "Enough was seen.")

    plan = SplitPlan(method="time", change_at=CHANGE)
    monkeypatch.setattr(evergreen.tasks.challenge, "can_refit", lambda *_: True)
    monkeypatch.setattr(
        evergreen.tasks.challenge, "read_split", lambda *_: (SimpleNamespace(features=("n",)), plan)
    )
    monkeypatch.setattr(evergreen.tasks.challenge, "load_parts", load)
    assert 3 == prepare_refit.fn(setup, None, 3).version
    assert (True, CHANGE) == (asked["refit"], asked["change_at"])
