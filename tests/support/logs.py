"""Prediction logs of each kind (in memory, on SQLite, on PostgreSQL), and what is written to them."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from sqlalchemy.engine import make_url

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import Profile, add_profiles
from evergreen.tasks.io.prediction_log.records import Served, WindowRecord
from evergreen.tasks.io.prediction_log.store import Log
from tests.support.memory_stores import MemoryLog, MemoryStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MODEL = "fraud"


LOGS = ["memory", "sqlite", "postgres"]


def new_log(kind, folder, request, **options):
    return Place(kind, folder, request, **options).log


class Place:
    """An empty log of a kind: what a writer opens, and the log that is read."""

    def __init__(self, kind, folder, request, **options):
        self.kind, self.url = kind, None
        if kind == "memory":
            self.log = MemoryLog()
            return
        self.url = f"sqlite:///{folder / 'log.db'}"
        if kind == "postgres":
            self.url = request.getfixturevalue("postgres_url")
        self.log = Log(self.url, **options)

    def opened(self):
        return MemoryStore(self.log) if self.url is None else self.url

    def ids(self, model=MODEL):
        """Return the ids of all predictions, in clock order."""
        frame = self.log.read_predictions(model, Window()).rows.frame
        return [] if frame.empty else frame["@prediction_id"].tolist()


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


WAIT = 20


class Failing:
    """A store that fails at a step once or for a while, before or after doing it."""

    def __init__(self, store, step, *, after, times=1, error=None):
        self.store, self.left = store, times
        done = getattr(store, step)

        def fail(*args, **kwargs):
            if after:
                done(*args, **kwargs)
            if self.left > 0:
                self.left -= 1
                raise (error or store.failures[0])("cut")
            return None if after else done(*args, **kwargs)

        setattr(store, step, fail)


def served(name, **more):
    values = {
        "prediction_id": str(name),
        "position": 1.0,
        "version": 3,
        "variant": "champion",
        "entity": "ada",
        "score": 0.25,
        "decision": 0,
        "features": {"x": 1.5, "c": "a"},
    }
    return Served(**{**values, **more})


def sqlite_path(url):
    return make_url(url).database
