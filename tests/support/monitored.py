"""A model with a champion whose windows are watched: rows that go on after its training, and what the flow does.

Everything but Prefect, its pages and the alerts' delivery: a real MLflow store, a real ledger and log.
"""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.logging import disable_run_logger

from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.monitoring import check_due_windows, load_monitor, read_monitor_request
from evergreen.tasks.monitoring_report import MonitorRun, conclude_run
from tests.support.arena import train_version

BEGIN = pd.Timestamp("2025-03-01", tz="UTC")
PER_HOUR, LEARNED, FIRST, NEXT = 40, 150, 120, 135
"""Rows an hour; hours a version is made of; the first it has not learned from; that of the version after it."""
KINDS = {
    "binary": "LogisticRegression",
    "multiclass": "LogisticRegression",
    "regression": "Ridge",
    "ranking": "Ridge",
}


def make_rows(problem="binary", *, hours=LEARNED, seed=0, clock="timestamp"):
    """Return rows in clock order, forty an hour (ranking: five races of eight), whose outcome follows two columns."""
    rng = np.random.default_rng(seed)
    n = hours * PER_HOUR
    x, colour = rng.normal(size=n), rng.choice(["red", "green", "blue"], size=n)
    strength = 1.5 * x + 1.2 * (colour == "red") + rng.logistic(size=n)
    frame = pd.DataFrame({"x": x, "z": rng.normal(size=n), "colour": colour})
    offset = (np.arange(n) // 8 * 8 if problem == "ranking" else np.arange(n)) * 3600 / PER_HOUR
    if clock == "seconds":
        frame.insert(0, "at", offset)
    elif clock == "timestamp":
        frame.insert(0, "at", BEGIN + pd.to_timedelta(offset, unit="s"))
    if problem == "binary":
        frame["y"] = np.where(strength > 0.3, "yes", "no")
    elif problem == "multiclass":
        frame["y"] = np.select([strength < -0.7, strength < 1.2], ["low", "mid"], "top")
    elif problem == "regression":
        frame["y"] = strength
    else:
        frame["race"] = np.arange(n) // 8
        frame["y"] = frame.assign(s=strength).groupby("race")["s"].rank().sub(5).clip(lower=0)
    return frame


def hours(first, last):
    """Return the places of the rows of some hours."""
    return slice(first * PER_HOUR, last * PER_HOUR)


def values_of(problem="binary", *, clock="timestamp", **sections):
    """Return the configuration: windows of an hour, labels known an hour later."""
    rows = clock == "rows"
    span = (lambda count: f"{count * PER_HOUR} rows") if rows else (lambda count: f"{count}h")
    data = {"source": "rows.csv", "target": "y", "clock": clock, "label_delay": span(1)}
    values = {
        "problem": problem,
        "data": data if rows else {**data, "time": "at"},
        "split": {"min_rows": 50, "holdout": span(20)},
        "training": {
            "folds": 3,
            "importance_repeats": 1,
            "candidates": [{"name": "linear", "estimator": f"sklearn.linear_model.{KINDS[problem]}"}],
        },
        "evaluation": {"validation_window": span(30)},
        "monitoring": {"window": span(1), "min_rows": 20, "report_rows": 0},
    }
    if problem == "ranking":
        values["data"]["group"] = "race"
    for section, changes in sections.items():
        values[section] = {**values.get(section, {}), **changes}
    return values


def write(folder, frame, values=None):
    """Write rows and configuration; return the configuration's path."""
    frame.to_csv(folder / "rows.csv", index=False)
    path = folder / "tested.yaml"
    path.write_text(yaml.safe_dump(values or values_of()))
    return path


def point_at(folder, uri, patch):
    """Let the environment name stores of a test's own."""
    folder.mkdir(parents=True, exist_ok=True)
    patch.setenv("EVERGREEN_HOME", str(folder / "home"))
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in ("EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL"):
        patch.delenv(name, raising=False)


def train_champion(folder, template, frame=None, values=None, *, ends=(LEARNED,)):
    """Train a version up to each of these hours and crown the first one; return the path of the MLflow store."""
    with pytest.MonkeyPatch.context() as patch:
        point_at(folder, f"sqlite:///{folder}/mlflow.db", patch)
        shutil.copy(template, folder / "mlflow.db")
        rows = make_rows(hours=max(ends)) if frame is None else frame
        for end in ends:
            setup = open_setup(str(write(folder, rows.iloc[hours(0, end)], values)))
            train_version(setup)
        crown(setup, 1)
    return folder / "mlflow.db"


def crown(setup, version):
    """Point ``@champion`` at a version."""
    setup.stores.registry.set_alias(setup.model, "champion", version)


class Watched:
    """One watched model in stores of a test's own, begun as a copy of a trained store."""

    def __init__(self, folder, trained, patch):
        self.folder, self._trained, self._patch = folder, trained, patch
        shutil.copy(trained, folder / "own.db")
        point_at(folder, f"sqlite:///{folder}/own.db", patch)

    def restarted(self):
        """Return the same model as if nothing had been watched yet."""
        folder = self.folder / "again"
        folder.mkdir()
        return Watched(folder, self._trained, self._patch)

    def setup(self, frame, **sections):
        """Write rows and open the model."""
        return open_setup(str(write(self.folder, frame, values_of(**sections))))


def watch(setup, *, since=None, until=None, dry_run=False):
    """Do what the flow does; return its result."""
    with disable_run_logger():
        asked = read_monitor_request(setup, since=since, until=until, dry_run=dry_run)
        guard = load_monitor.fn(setup)
        looks = {phase: check_due_windows.fn(setup, guard, asked, phase) for phase in guard.phases}
        return conclude_run(setup, MonitorRun(asked=asked, guard=guard, looks=looks), None)


def entries(setup, phase):
    """Return what the ledger says of each window of a phase, in the order in which it was written."""
    return [one.payload for one in setup.stores.ledger.read(model=setup.model, stream=f"windows-{phase}")]


def spans(setup, phase):
    """Return start and end of each window, in hours after the beginning."""
    begin = BEGIN.timestamp()
    return [((one["start"] - begin) / 3600, (one["end"] - begin) / 3600) for one in entries(setup, phase)]


def said(window, kind):
    """Return the level of a kind and the codes of its reasons."""
    verdict = window["kinds"][kind]
    return verdict["level"], [reason["code"] for reason in verdict["reasons"]]


def told(result):
    """Return the codes of a result's reasons."""
    return [reason.code for reason in result.reasons]


def adrift(*, begin, end, until):
    """Return rows whose ``x`` is shifted in some hours."""
    frame = make_rows(hours=until)
    frame.loc[frame.index[hours(begin, end)], "x"] += 3.0
    return frame


def moment(hour):
    """Return an hour after the beginning as text."""
    return (BEGIN + np.timedelta64(hour, "h")).isoformat()


def every(first, last):
    """Return start and end of each of these hours."""
    return [(float(hour), hour + 1.0) for hour in range(first, last)]


def alerts(setup, phase="inputs"):
    """Return the alert of each window."""
    return [one["alert"] for one in entries(setup, phase)]


def kept(setup):
    """Return all that a look may leave: the ledger, and the log's windows."""
    return setup.stores.ledger.read(), [setup.stores.log.windows(setup.model, phase) for phase in Phase]


def hour_of(position):
    """Return a position in hours after the beginning."""
    return (position - BEGIN.timestamp()) / 3600
