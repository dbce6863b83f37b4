"""``python -m tests.support.dying_command retrain MODEL``: the ``evergreen`` command, told where to die.

Every write of the ledger and of the registry is counted by its label; at the one that is asked for the process kills
itself and its children. Only the subprocesses of tests are told so.
"""

import functools
import json
import os
import signal
import sys
from pathlib import Path

DIE_AT, LABELS, NO_SMOKE = "TEST_DIE_AT", "TEST_LABELS", "TEST_NO_SMOKE"
"""Where it dies (``after set @champion:1``: its first such write has been made), the file in which it notes its writes,
and whether smoke tests pass without a process of their own."""


class Writes:
    """Counts writes by side and label; kills its process group at the one asked for."""

    def __init__(self, die_at, labels):
        self._die_at, self._labels, self._counts = die_at, labels, {}

    def reach(self, side, label):
        self._counts[side, label] = number = self._counts.get((side, label), 0) + 1
        if self._labels:
            with Path(self._labels).open("a") as out:
                out.write(f"{side} {label}:{number}\n")
        if f"{side} {label}:{number}" == self._die_at:
            os.killpg(os.getpgid(0), signal.SIGKILL)

    def wrap(self, kind, name, label_of):
        method = getattr(kind, name)

        @functools.wraps(method)
        def write(*args, **options):
            label = label_of(*args, **options)
            self.reach("before", label)
            answer = method(*args, **options)
            self.reach("after", label)
            return answer

        setattr(kind, name, write)

    def install(self):
        from evergreen.tasks.io.ledger import SqlLedger
        from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry

        self.wrap(SqlLedger, "_insert", lambda _, entry: entry_label(entry))
        self.wrap(MlflowRegistry, "register", lambda *_, **__: "register")
        self.wrap(MlflowRegistry, "set_alias", lambda _, name, alias, version: f"set @{alias}")
        self.wrap(MlflowRegistry, "delete_alias", lambda _, name, alias: f"delete @{alias}")
        self.wrap(MlflowRegistry, "set_tags", lambda _, name, version, tags: f"tag {min(tags)}")


def entry_label(entry):
    stage = f" {entry.payload['stage']}" if entry.kind == "stage" else ""
    return f"{entry.stream} {entry.kind}{stage}"


def answer_smoke(place, **_):
    """Answer a smoke test at once: all is well."""
    probe = {"name": "load", "passed": True, "message": "not asked"}
    quick = {"p50_ms": 1.0, "p95_ms": 1.0, "rows": 1, "repeats": 1}
    answer = {
        "uri": "",
        "probes": [probe],
        "single": quick,
        "batch": quick,
        "size_mb": 1.0,
        "load_seconds": 0.1,
    }
    (place / "result.json").write_text(json.dumps(answer))


def main():
    from evergreen.deployments.cli.app import run
    from evergreen.tasks.io import smoke

    if os.environ.get(NO_SMOKE):
        smoke._run = answer_smoke
    Writes(os.environ.get(DIE_AT), os.environ.get(LABELS)).install()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
