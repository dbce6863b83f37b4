"""Material for the logs' contract suites: in memory, on SQLite, on a real PostgreSQL."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import Profile, add_profiles
from evergreen.tasks.io.prediction_log.records import WindowRecord
from evergreen.tasks.io.prediction_log.store import open_log
from tests.support.memory_stores import MemoryLog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL = "fraud"


LOGS = ["memory", "sqlite", "postgres"]


def new_log(kind, folder, request):
    """Return an empty log of a kind."""
    if kind == "memory":
        return MemoryLog()
    url = f"sqlite:///{folder / 'log.db'}"
    return open_log(request.getfixturevalue("postgres_url") if kind == "postgres" else url)


def frame(seed, rows=50):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=rows), "c": rng.choice(["a", "b", None], rows)})


def grid(seed=0):
    return make_grid(frame(seed), categorical=frozenset({"c"}))


def record(start, end, *, phase=Phase.INPUTS, model=MODEL, at=NOW, payload=None, profiles=None):
    return WindowRecord(
        model=model,
        phase=phase,
        window=Window(float(start), float(end)),
        version=3,
        at=at,
        payload=payload or {},
        profiles=profiles or {},
    )


def sum_profiles(log, records, name):
    """Return the sum of the records' profiles of a name, one for each grid they were counted over."""
    by_grid = {}
    for one in records:
        if name in one.profiles:
            plain = one.profiles[name]
            by_grid.setdefault(plain["grid_id"], []).append(plain)
    return tuple(
        add_profiles([Profile.from_window_dict(part, log.grid(grid_id)) for part in parts])
        for grid_id, parts in by_grid.items()
    )
