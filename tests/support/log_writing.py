"""Material for tests of the log's writer."""

from sqlalchemy.engine import make_url

from evergreen.tasks.io.prediction_log.records import Served
from evergreen.tasks.io.prediction_log.store import open_log
from tests.support.memory_stores import MemoryLog, MemoryStore

MODEL = "fraud"
WAIT = 20


class Place:
    """A log of a kind: what a writer opens, and the log that is read."""

    def __init__(self, kind, folder, request):
        self.kind, self.url = kind, None
        if kind == "memory":
            self.log = MemoryLog()
            return
        self.url = f"sqlite:///{folder / 'log.db'}"
        if kind == "postgres":
            self.url = request.getfixturevalue("postgres_url")
        self.log = open_log(self.url)

    def opened(self):
        return MemoryStore(self.log) if self.url is None else self.url

    def ids(self, model=MODEL):
        """Return the ids of all predictions, in clock order."""
        from evergreen.tasks.core.data.clock import Window

        frame = self.log.read_predictions(model, Window()).rows.frame
        return [] if frame.empty else frame["@prediction_id"].tolist()


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
