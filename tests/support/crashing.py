"""Kill real processes in the middle of a promotion, and look at what they leave, from other processes."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

from sqlalchemy import Engine, event

MODEL = "fraud"
CONTEXT = multiprocessing.get_context("forkserver")
JOBS = {
    "promotion": {
        "before": {"champion": 3, "fallback": 2, "challenger": 4, "candidate": 4},
        "after": {"champion": 4, "fallback": 3},
    },
    "rollback": {
        "before": {"champion": 3, "fallback": 2, "challenger": 4, "candidate": 4},
        "after": {"champion": 2, "fallback": 1, "challenger": 4, "candidate": 4},
    },
    "promotion of the fallback": {
        "before": {"champion": 3, "fallback": 2, "challenger": 4, "candidate": 4},
        "after": {"champion": 2, "fallback": 3, "challenger": 4, "candidate": 4},
    },
}
"""What each job starts from and ends in, in the template that ``build`` makes."""


def open_stores(folder, ledger_url):
    from evergreen.tasks.io.ledger import open_ledger
    from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry

    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db"), open_ledger(ledger_url)


def build(folder, ledger_url):
    """Log four real models that each predict their own version; 1, 2, 3 reign in turn, 4 is challenger."""
    import mlflow
    import numpy as np
    from sklearn.dummy import DummyRegressor

    from evergreen.tasks.promotion import Promoter

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("e", artifact_location=f"file://{folder}/files")
    )
    registry, ledger = open_stores(folder, ledger_url)
    for version in (1, 2, 3, 4):
        model = DummyRegressor(strategy="constant", constant=version).fit([[0.0]], [version])
        with mlflow.start_run() as run:
            logged = mlflow.sklearn.log_model(
                model, name="model", input_example=np.zeros((1, 1)), pip_requirements=["scikit-learn"]
            )
        tags = {"validation_status": "approved"}
        registry.register(MODEL, source=logged.model_uri, run_id=run.info.run_id, tags=tags)
        Promoter(registry, ledger, MODEL).set_candidate(version=version)
        Promoter(registry, ledger, MODEL).admit_challenger(version=version)
        if version < 4:
            Promoter(registry, ledger, MODEL).promote(version=version, reason="template")


class Points:
    """Counts every SQL statement, commit and client call; kills its process at the one asked for."""

    def __init__(self, crash_at):
        self.crash_at, self.labels = crash_at, []

    def reach(self, label):
        self.labels.append(label)
        if len(self.labels) == self.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def listen(self):
        event.listen(
            Engine, "before_cursor_execute", lambda c, cur, sql, *rest: self.reach(f"sql {sql[:60]}")
        )
        event.listen(Engine, "commit", lambda connection: self.reach("commit"))

    def install(self):
        from mlflow import MlflowClient

        self.listen()
        for name in [name for name in dir(MlflowClient) if not name.startswith("_")]:
            method = getattr(MlflowClient, name)
            if callable(method):
                setattr(MlflowClient, name, self._wrapped(name, method))

    def _wrapped(self, name, method):
        def call(*args, **kwargs):
            self.reach(f"before {name}")
            answer = method(*args, **kwargs)
            self.reach(f"after {name}")
            return answer

        return call


def act(job, registry, ledger):
    from evergreen.tasks.promotion import Promoter

    if job == "promotion":
        Promoter(registry, ledger, MODEL).promote(version=4, reason="better", expected_champion=3)
    elif job == "promotion of the fallback":
        Promoter(registry, ledger, MODEL).promote(version=2, reason="better again")
    elif job == "rollback":
        Promoter(registry, ledger, MODEL).rollback(reason="worse")
    elif job == "reconcile":
        Promoter(registry, ledger, MODEL).reconcile()


def work(folder, ledger_url, job, started):
    """Do a job and say when it begins; what the random kills kill."""
    registry, ledger = open_stores(folder, ledger_url)
    registry.aliases(MODEL)
    started.set()
    act(job, registry, ledger)


def contend(folder, ledger_url, version, start):
    """Promote one of two versions against the same champion at the same moment; return the state's name."""
    from evergreen.tasks.core.errors import Blocked
    from evergreen.tasks.promotion import Promoter

    registry, ledger = open_stores(folder, ledger_url)
    registry.aliases(MODEL)
    start.wait()
    try:
        result = Promoter(registry, ledger, MODEL).promote(
            version=version, reason="mine", expected_champion=3
        )
        return result.state.value, None
    except Blocked as error:
        return "Blocked", error.reason_code


def served_version():
    """Load what serving code loads and ask it who it is."""
    import mlflow
    import numpy as np

    return int(mlflow.pyfunc.load_model(f"models:/{MODEL}@champion").predict(np.zeros((1, 1)))[0])


def look(registry, ledger):
    """Return what serving code and an operator see now."""
    from evergreen.tasks.core.promotion.status import describe_status

    aliases, entries = registry.aliases(MODEL), ledger.read(model=MODEL)
    status = describe_status(aliases=aliases, entries=entries, lock_is_held=ledger.lock_is_held(MODEL))
    return {
        "aliases": aliases,
        "served": served_version(),
        "pending": [plan["state"] for plan in status["pending"]],
        "inconsistencies": status["inconsistencies"],
        "entries": len(entries),
        "tags": {str(info.version): dict(info.tags) for info in registry.versions(MODEL)},
    }


def examine(folder, ledger_url):
    """Look before reconcile, after it, and after a second one."""
    import mlflow

    from evergreen.tasks.promotion import Promoter

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    registry, ledger = open_stores(folder, ledger_url)
    wait_until_free(ledger)
    found = [look(registry, ledger)]
    for _ in range(2):
        Promoter(registry, ledger, MODEL).reconcile()
        found.append(look(registry, ledger))
    return found


def wait_until_free(ledger):
    """Wait for PostgreSQL to notice that the client of a killed process is gone; a file lock is free at once."""
    deadline = time.monotonic() + 60
    while ledger.lock_is_held(MODEL):
        assert time.monotonic() < deadline, "the lock outlived its holder"


def _answer(path, function, arguments):
    Path(path).write_text(json.dumps(function(*arguments)))


def start(function, *arguments, answer=None):
    """Start a function in a process of its own, forked from one that has imported everything once."""
    CONTEXT.set_forkserver_preload(["tests.support.crashing_imports"])
    if answer is not None:
        function, arguments = _answer, (str(answer), function, arguments)
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process


def finish(process):
    process.join(3000)
    return process.exitcode


def ask(folder, function, *arguments):
    """Run a function in another process and return its answer."""
    path = Path(folder) / "answer.json"
    process = start(function, *arguments, answer=path)
    assert finish(process) == 0, f"{function.__name__} ended with {process.exitcode}"
    return json.loads(path.read_text())
