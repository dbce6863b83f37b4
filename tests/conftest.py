"""Fixtures every layer's tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

pytest_plugins = [
    "tests.support.skips",
    "tests.support.servers",
    "tests.support.mlflow_store",
    "tests.support.postgres",
    "tests.support.sinks",
    "tests.support.watched_store",
    "tests.support.rivals_store",
]
