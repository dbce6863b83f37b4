"""The home folder that version 0.1 left (tests/data/home-0.1.tar.xz), unpacked where a test wants it."""

import json
import sqlite3
import tarfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import QUIET, ROOT

ARCHIVE = ROOT / "tests" / "data" / "home-0.1.tar.xz"
NOW = "2026-05-01T01:00:00+00:00"
"""An hour after the newest day of its data; 15 hours after its last decision."""
FOLDER, PROJECT = "__HOME__", "__PROJECT__"
"""What stands in the archive for the home folder, and for the project's root."""
PLACES = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("experiments", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's database that say where artifacts are."""
FEATURES = {"amount": float, "items": int, "distance": float, "tenure": float, "channel": str}


@dataclass(frozen=True, kw_only=True)
class EarlierHome:
    """An unpacked home folder, the API key it was served with, and what was deployed from it."""

    folder: Path
    api_key: str
    deployments: list
    automations: list

    @property
    def environment(self):
        """The environment of a machine whose home this is."""
        return {
            **QUIET,
            "EVERGREEN_HOME": str(self.folder),
            "EVERGREEN_CONFIG": str(self.folder / "config"),
            "EVERGREEN_NOW": NOW,
            "PREFECT_HOME": str(self.folder / "prefect"),
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        }


def unpack(folder):
    """Unpack the earlier home below a folder; its artifacts are where its database says."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    home = folder / "home"
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        for table, column in PLACES:
            database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (FOLDER, str(home)))
    for document in home.rglob("artifacts/MLmodel"):
        document.write_text(document.read_text().replace(FOLDER, str(home)))
    deployed = (folder / "deployments.json").read_text().replace(FOLDER, str(home))
    deployed = json.loads(deployed.replace(PROJECT, str(ROOT)))
    return EarlierHome(folder=home, api_key=(folder / "web.key").read_text().strip(), **deployed)


@contextmanager
def lived_in(home):
    """Let this process and those it starts find the home folder, and no other store."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL", "EVERGREEN_KEYS", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        for name, value in home.environment.items():
            patch.setenv(name, value)
        yield home
