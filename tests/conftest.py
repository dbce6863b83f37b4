"""Fixtures every layer's tests share."""

import gc
import os
import sys
from pathlib import Path

from hypothesis import settings

# Workers run side by side, where teams of threads would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Every worker, and processes that tests start, would compile the project anew, and every test file with its asserts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
settings.register_profile("project", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("project")

gc.set_threshold(20_000, 20, 50)
"""A session keeps a million objects to its end: to look at them all as often as usual is a thirtieth of its time."""
pytest_plugins = [
    "tests.support.parallel",
    "tests.support.skips",
    "tests.support.servers",
    "tests.support.stores",
    "tests.support.sinks",
]
