"""A model with trained versions on a real MLflow store, and challenges without a Prefect server."""

import shutil

from evergreen.tasks.challenge import (
    arrange_comparison,
    find_contestants,
    judge_comparison,
    load_evaluation_rows,
)
from evergreen.tasks.core.promotion.plan import CHALLENGER, CHAMPION
from evergreen.tasks.data import load_parts
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.training import choose, fit, keep, prepare, try_candidate
from tests.support.learning import write_model

LINEAR = {"candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}]}


def train(setup, *, trigger="manual", **options):
    """Do what the flow does, without a server and its pages; return all that came of it, the version last."""
    lesson = prepare.fn(setup, load_parts(setup, **options))
    runs = [try_candidate.fn(setup, lesson, one) for one in setup.config.training.candidates]
    choice = choose.fn(setup, lesson, runs)
    fitted = fit.fn(setup, lesson, choice)
    return lesson, choice, fitted, keep.fn(setup, lesson, choice, fitted, trigger=trigger)


def train_version(setup, **options):
    """Train and approve; return the version."""
    version = train(setup, **options)[-1].version
    setup.stores.registry.set_tags(setup.model, version, {"validation_status": "approved"})
    return version


class Arena:
    """Stores of a test's own, begun as a copy of a trained store."""

    def __init__(self, folder, uri, monkeypatch, *, start=None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if start is not None:
            shutil.copy(start, uri.removeprefix("sqlite:///"))
        monkeypatch.setenv("EVERGREEN_HOME", str(folder / "home"))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.delenv("EVERGREEN_LEDGER_URL", raising=False)
        monkeypatch.delenv("EVERGREEN_LOG_URL", raising=False)

    def setup(self, **sections):
        """Open the model under a configuration."""
        return open_setup(str(write_model(self.folder, **{"training": LINEAR, **sections})))


def enthrone(setup, *, challenger, champion=None):
    """Point the two aliases at versions."""
    registry = setup.stores.registry
    registry.set_alias(setup.model, CHALLENGER, challenger)
    if champion is not None:
        registry.set_alias(setup.model, CHAMPION, champion)


def meet(setup, *, until=None):
    """Return the opponents, the rows and the match."""
    opponents = find_contestants.fn(setup)
    parts = load_evaluation_rows.fn(setup, opponents, until=until)
    return opponents, parts, arrange_comparison.fn(setup, opponents, parts)


def judge(setup, *, until=None, dry_run=False):
    """Hold the challenge up to its judgement."""
    opponents, _, match = meet(setup, until=until)
    return judge_comparison.fn(setup, opponents, match, dry_run=dry_run)


def spent(setup):
    """Return what each look has spent."""
    return [entry.payload["alpha"] for entry in setup.stores.ledger.read(model=setup.model, stream="alpha")]


def promote_plainly(setup, version, **options):
    """Promote as the task does, outside Prefect and unannounced."""
    return Promoter.of(setup).promote(version, **options)
