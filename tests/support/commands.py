"""The real command in this process, on a machine of its own, with a small model of hourly rows."""

import contextlib
import io
import json
import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import yaml

from evergreen.deployments.cli.app import run
from evergreen.tasks.io.settings import read_settings
from evergreen.tasks.io.setup import Stores
from tests.support.servers import QUIET
from tests.support.training_data import linear

REASON = {"code", "message", "observed", "limit"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a command ended: exit code, the one object on stdout, and all of stderr."""

    exit_code: int
    json: dict
    err: str

    @property
    def state(self):
        return self.json["state"]

    @property
    def codes(self):
        return [reason["code"] for reason in self.json["reasons"]]

    @property
    def said(self):
        return " ".join(reason["message"] for reason in self.json["reasons"])


def command(*arguments):
    """Run ``evergreen ARGUMENTS --json``; stdout must be one JSON object that names its state and reasons."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), consoles(err):
        exit_code = run([*map(str, arguments), "--json"])
    answer = Answer(exit_code=exit_code, json=json.loads(out.getvalue()), err=err.getvalue())
    assert isinstance(answer.json["state"], str)
    assert all(set(reason) >= REASON for reason in answer.json["reasons"]), answer.json
    return answer


@contextlib.contextmanager
def consoles(stream):
    """Let Prefect's handlers write to ``stream``, as a process of its own would.

    They keep the stderr of the moment they were made, and the level of the environment at that time.
    """
    rich = [handler.console for handler in logging.getLogger().handlers if hasattr(handler, "console")]
    before = [console.file for console in rich]
    logger = logging.getLogger("prefect")
    level = logger.level
    logger.setLevel(QUIET["PREFECT_LOGGING_LEVEL"])
    for console in rich:
        console.file = stream
    try:
        yield
    finally:
        logger.setLevel(level)
        for console, file in zip(rich, before, strict=True):
            console.file = file


@contextlib.contextmanager
def machine(home, template):
    """Set the environment of a machine of its own: embedded stores in ``home``, from a migrated MLflow store."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "mlflow.db").write_bytes(template.read_bytes())
    own = {
        **QUIET,
        "EVERGREEN_HOME": str(home),
        "EVERGREEN_CONFIG": str(home / "config"),
        "PREFECT_HOME": str(home / "prefect"),
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    from prefect.settings import PREFECT_LOGGING_LEVEL, temporary_settings

    level = {PREFECT_LOGGING_LEVEL: QUIET["PREFECT_LOGGING_LEVEL"]}
    with pytest.MonkeyPatch.context() as patch, temporary_settings(level):
        for name in ("EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        for name, value in own.items():
            patch.setenv(name, value)
        yield Stores(read_settings())


def snapshot(stores):
    """Return all that a decision may change: aliases and versions with their tags, and every ledger entry."""
    from mlflow import MlflowClient

    names = [found.name for found in MlflowClient(stores.settings.tracking_uri).search_registered_models()]
    registered = {name: (stores.registry.aliases(name), stores.registry.versions(name)) for name in names}
    return registered, stores.ledger.read()


HOURS = 2000
START = "2026-01-01"


def write_hours(path, *, strength=2.0, hours=HOURS):
    rng = np.random.default_rng(7)
    x, z = rng.normal(size=hours), rng.normal(size=hours)
    y = (rng.random(hours) < 1 / (1 + np.exp(-strength * x))).astype(int)
    at = pd.date_range(START, periods=hours, freq="h", tz="UTC")
    pd.DataFrame({"at": at, "x": x, "z": z, "y": y}).to_csv(path, index=False)


def write_model(folder, name, **sections):
    """Write a model's data and configuration into a folder; return the configuration's path."""
    write_hours(folder / f"{name}.csv")
    values = {
        "problem": "binary",
        "data": {"source": f"{name}.csv", "target": "y", "time": "at"},
        "split": {"holdout": "14d"},
        "training": {"candidates": [linear()], "folds": 3, "importance_repeats": 1},
        "evaluation": {"metric": "roc_auc", "validation_window": "14d"},
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
