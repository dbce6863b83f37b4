"""``python -m tests.support.dying_command retrain MODEL``: the ``evergreen`` command, told where to die.

Every write of the ledger and of the registry is a point; at the one that is asked for the process kills itself and its
children. Only the subprocesses of tests are told so.
"""

import json
import os
import signal
import sys
from pathlib import Path

from evergreen.tasks.io.ledger import Ledger
from tests.support.processes import Points

DIE_AT, LABELS, NO_SMOKE = "TEST_DIE_AT", "TEST_LABELS", "TEST_NO_SMOKE"
"""Where it dies (``after set @champion:1``: its first such write has been made), the file in which it notes its writes,
and whether smoke tests pass without a process of their own."""


def entry_label(entry):
    stage = f" {entry.payload['stage']}" if entry.kind == "stage" else ""
    return f"{entry.stream} {entry.kind}{stage}"


def watch_writes(points, registry, patch=setattr):
    """Make each write of ledgers and of a class of registries a point."""
    points.wrap(Ledger, "_insert", lambda _, entry: entry_label(entry), patch)
    points.wrap(registry, "register", lambda *_, **__: "register", patch)
    points.wrap(registry, "set_alias", lambda _, name, alias, version: f"set @{alias}", patch)
    points.wrap(registry, "delete_alias", lambda _, name, alias: f"delete @{alias}", patch)
    points.wrap(registry, "set_tags", lambda _, name, version, tags: f"tag {min(tags)}", patch)


def answer_smoke(place, **_):
    """Answer a smoke test at once: all is well."""
    probe = {"name": "load", "passed": True, "message": "not asked"}
    quick = {"p50_ms": 1.0, "p95_ms": 1.0, "rows": 1, "repeats": 1}
    answer = {"uri": "", "probes": [probe], "single": quick, "batch": quick, "size_mb": 1.0}
    (place / "result.json").write_text(json.dumps({**answer, "load_seconds": 0.1}))


def main():
    from evergreen.deployments.cli.app import run
    from evergreen.tasks.io import smoke
    from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry

    if os.environ.get(NO_SMOKE):
        smoke._run = answer_smoke
    points = Points(os.environ.get(DIE_AT), die=lambda label: os.killpg(os.getpgid(0), signal.SIGKILL))
    watch_writes(points, MlflowRegistry)
    code = run(sys.argv[1:])
    if os.environ.get(LABELS):
        Path(os.environ[LABELS]).write_text("\n".join(points.labels))
    sys.exit(code)


if __name__ == "__main__":
    main()
