"""Models with trained versions on a real MLflow store: challenged, monitored, trained once for several tests."""

import shutil

import numpy as np
import pandas as pd
import prefect.main  # noqa: F401  its import sets loggers up; a later one would enable those that a test disabled
import pytest
from prefect.logging import disable_run_logger

from evergreen.tasks.challenge import (
    arrange_comparison,
    find_contestants,
    judge_comparison,
    load_evaluation_rows,
)
from evergreen.tasks.core.drift.estimate import Reference
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.monitoring.reference_series import ReferenceSeries
from evergreen.tasks.core.promotion.plan import CHALLENGER, CHAMPION
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.mlflow_store.documents import read_documents, read_optional
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.monitoring import check_due_windows, load_monitor, read_monitor_request
from evergreen.tasks.monitoring_report import MonitorRun, conclude_run
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.training import choose, fit, prepare, register_candidate, try_candidate
from tests.support.training_data import add_outcome, linear, merged, write_model, write_yaml


def train(setup, *, trigger="manual", **options):
    """Do what the flow does, without a server and its pages; return all that came of it, the version last."""
    lesson = prepare.fn(setup, load_parts(setup, **options))
    runs = [try_candidate.fn(setup, lesson, one) for one in setup.config.training.candidates]
    choice = choose.fn(setup, lesson, runs)
    fitted = fit.fn(setup, lesson, choice)
    return lesson, choice, fitted, register_candidate.fn(setup, lesson, choice, fitted, trigger=trigger)


def train_version(setup, **options):
    version = train(setup, **options)[-1].version
    setup.stores.registry.set_tags(setup.model, version, {"validation_status": "approved"})
    return version


class ModelStores:
    """Stores of a test's own, begun as a copy of a trained store."""

    def __init__(self, folder, uri, monkeypatch, *, start=None):
        self.folder = folder
        use_stores(folder, uri, monkeypatch)
        if start is not None:
            shutil.copy(start, uri.removeprefix("sqlite:///"))

    def setup(self, **sections):
        return open_setup(
            str(write_model(self.folder, **{"training": {"candidates": [linear()]}, **sections}))
        )


def set_aliases(setup, *, challenger, champion=None):
    registry = setup.stores.registry
    registry.set_alias(setup.model, CHALLENGER, challenger)
    if champion is not None:
        registry.set_alias(setup.model, CHAMPION, champion)


def compare_versions(setup, *, until=None):
    """Return the contestants, the rows and the comparison."""
    contestants = find_contestants.fn(setup)
    parts = load_evaluation_rows.fn(setup, contestants, until=until)
    return contestants, parts, arrange_comparison.fn(setup, contestants, parts)


def judge(setup, *, until=None, dry_run=False):
    contestants, _, comparison = compare_versions(setup, until=until)
    return judge_comparison.fn(setup, contestants, comparison, dry_run=dry_run)


def alpha_spent(setup):
    """Return the alpha that each look has spent."""
    return [entry.payload["alpha"] for entry in setup.stores.ledger.read(model=setup.model, stream="alpha")]


def promote_unannounced(setup, version, **options):
    """Promote as the task does, outside Prefect and unannounced."""
    return Promoter.of(setup).promote(version, **options)


BEGIN = pd.Timestamp("2025-03-01", tz="UTC")
PER_HOUR, TRAINED, FIRST, NEXT = 40, 150, 120, 135
"""Rows an hour; hours a version is made of; the first it has not learned from; that of the version after it."""


def make_rows(problem="binary", *, hours=TRAINED, seed=0, clock="timestamp"):
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
    return add_outcome(frame, strength, problem, cuts=(-0.7, 1.2))


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
        "training": {"folds": 3, "importance_repeats": 1, "candidates": [linear(problem)]},
        "evaluation": {"validation_window": span(30)},
        "monitoring": {"window": span(1), "min_rows": 20, "report_rows": 0},
    }
    if problem == "ranking":
        values["data"]["group"] = "race"
    return merged(values, sections)


def use_stores(folder, uri, patch):
    """Let the environment name stores of a test's own."""
    folder.mkdir(parents=True, exist_ok=True)
    patch.setenv("EVERGREEN_HOME", str(folder / "home"))
    patch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in ("EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL"):
        patch.delenv(name, raising=False)


def train_champion(folder, template, frame=None, values=None, *, ends=(TRAINED,)):
    """Train a version up to each of these hours, the first one becomes champion; return the MLflow store's path."""
    with pytest.MonkeyPatch.context() as patch:
        use_stores(folder, f"sqlite:///{folder}/mlflow.db", patch)
        shutil.copy(template, folder / "mlflow.db")
        rows = make_rows(hours=max(ends)) if frame is None else frame
        for end in ends:
            setup = open_setup(str(write_yaml(folder, rows.iloc[hours(0, end)], values or values_of())))
            train_version(setup)
        set_champion(setup, 1)
    return folder / "mlflow.db"


def set_champion(setup, version):
    setup.stores.registry.set_alias(setup.model, "champion", version)


class MonitoredStores:
    """One monitored model in stores of a test's own, begun as a copy of a trained store."""

    def __init__(self, folder, trained, patch):
        self.folder, self._trained, self._patch = folder, trained, patch
        shutil.copy(trained, folder / "own.db")
        use_stores(folder, f"sqlite:///{folder}/own.db", patch)

    def restarted(self):
        """Return the same model as if nothing had been monitored yet."""
        folder = self.folder / "again"
        folder.mkdir()
        return MonitoredStores(folder, self._trained, self._patch)

    def setup(self, frame, **sections):
        return open_setup(str(write_yaml(self.folder, frame, values_of(**sections))))


def run_monitor(setup, *, since=None, until=None, dry_run=False):
    """Do what the monitoring flow does; return its result."""
    with disable_run_logger():
        request = read_monitor_request(setup, since=since, until=until, dry_run=dry_run)
        monitored = load_monitor.fn(setup)
        phases = {phase: check_due_windows.fn(setup, monitored, request, phase) for phase in monitored.phases}
        return conclude_run(setup, MonitorRun(request=request, monitor=monitored, phases=phases), None)


def window_entries(setup, phase):
    """Return what the ledger says of each window of a phase, in the order in which it was written."""
    return [one.payload for one in setup.stores.ledger.read(model=setup.model, stream=f"windows-{phase}")]


def window_hours(setup, phase):
    """Return start and end of each window, in hours after the beginning."""
    begin = BEGIN.timestamp()
    return [
        ((one["start"] - begin) / 3600, (one["end"] - begin) / 3600) for one in window_entries(setup, phase)
    ]


def verdict_of(window, kind):
    """Return the level of a kind and the codes of its reasons."""
    verdict = window["kinds"][kind]
    return verdict["level"], [reason["code"] for reason in verdict["reasons"]]


def reason_codes(result):
    return [reason.code for reason in result.reasons]


def drifted_rows(*, begin, end, until):
    """Return rows whose ``x`` is shifted in some hours."""
    frame = make_rows(hours=until)
    frame.loc[frame.index[hours(begin, end)], "x"] += 3.0
    return frame


def hour_text(hour):
    """Return an hour after the beginning as text."""
    return (BEGIN + np.timedelta64(hour, "h")).isoformat()


def hourly(first, last):
    return [(float(hour), hour + 1.0) for hour in range(first, last)]


def window_alerts(setup, phase="inputs"):
    return [one["alert"] for one in window_entries(setup, phase)]


def stored(setup):
    """Return all that a look may leave: the ledger, and the log's windows."""
    return setup.stores.ledger.read(), [setup.stores.log.windows(setup.model, phase) for phase in Phase]


def hour_of(position):
    return (position - BEGIN.timestamp()) / 3600


class TrainedModel:
    """A model and its versions, oldest first in ``infos``, in stores of its own that begin with those of ``template``.

    A version is trained as of each moment of ``until``, one after the other; ``options`` are those of ``write_model``.
    """

    def __init__(self, folder, template, *, until=(None,), **options):
        self.folder, self.infos = folder, []
        self.options = options
        shutil.copy(template, folder / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch:
            setup = self._open(folder, patch)
            for as_of in until:
                self.lesson, self.choice, self.fitted, info = train(setup, until=as_of)
                self.infos.append(info)
                shutil.copy(folder / "mlflow.db", self._kept(info.version))

    @property
    def info(self):
        return self.infos[-1]

    def open(self, patch):
        """Return the model over its own stores, for tests that write nothing."""
        return self._open(self.folder, patch)

    def copied(self, folder, patch, *, version=None):
        """Return the model over a copy of its stores as they were after a version (default: the newest)."""
        shutil.copy(self._kept(version or self.info.version), folder / "mlflow.db")
        return self._open(folder, patch)

    def _kept(self, version):
        return self.folder / f"after-{version}.db"

    def _open(self, folder, patch):
        use_stores(folder, f"sqlite:///{folder}/mlflow.db", patch)
        return open_setup(str(write_model(folder, **self.options)))


def load_reference(setup, info):
    """Return what was frozen with a version: its reference and its own past."""
    kept = read_documents(setup, info, ("profile",))["profile"]
    return Reference.from_dict(kept), ReferenceSeries.from_dict(read_optional(setup, info, "past"))
