"""An MLflow store with a champion to watch, trained once a session."""

import pytest


@pytest.fixture(scope="session")
def watched_store(mlflow_template, tmp_path_factory):
    """Path of a store whose champion is version 1, and whose version 2 learned from fifteen hours more."""
    from tests.support.monitored import LEARNED, train_champion

    return train_champion(tmp_path_factory.mktemp("watched"), mlflow_template, ends=(LEARNED, LEARNED + 15))


@pytest.fixture
def watched(watched_store, tmp_path, monkeypatch):
    """The watched model in stores of the test's own."""
    from tests.support.monitored import Watched

    return Watched(tmp_path, watched_store, monkeypatch)
