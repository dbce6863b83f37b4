"""The demonstration: its story, told by the real flows; ``python -m evergreen.deployments.demo``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evergreen.deployments.cli.output import prepare_prefect, run_flow
from evergreen.tasks.core.config.model import merge
from evergreen.tasks.core.drift.types import short_time
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.io.status import model_status

HOME = Path.cwd() / ".evergreen-demo"
PAGES = {"monitoring": ("drift.html", "evidently.html"), "retraining": ("replay.html",)}
"""Pages that are copied out of the runs, by the concern of their experiment."""
TWO_COLUMN_CONFIG = {
    "data": {"numeric": ["card_age_days", "hour"], "categorical": []},
    "training": {
        "candidates": [
            {"name": "stump", "estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 2}}
        ]
    },
    "validation": {"baseline_margin": 0.0},
}
"""A poor configuration: two columns and a tree of two levels."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One step of the story."""

    title: str
    """What is about to happen."""
    flow: str
    """``module:function`` in ``evergreen.flows``."""
    now: str
    """The time that decisions take for now."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """The flow's parameters, without the model."""
    changes: dict[str, Any] = field(default_factory=dict)
    """What this chapter's configuration changes in the demo's payments.yaml."""


def _train_to_challenge(who: str, until: str, **changes: Any) -> list[Chapter]:
    """Return the three stages a version goes through."""
    stages = {
        f"Train {who} (as of {until})": ("train:train", {"until": until}),
        "Pass it through the gate": ("validate:validate", {}),
        "Challenge the champion": ("challenge:challenge", {"until": until}),
    }
    return [
        Chapter(title=title, flow=flow, parameters=parameters, changes=changes, now=until)
        for title, (flow, parameters) in stages.items()
    ]


def _retrain(what: str, until: str) -> Chapter:
    """Return a run that a drift event asks for."""
    parameters = {"until": until, "trigger": "drift"}
    return Chapter(title=f"{what} (as of {until})", flow="retrain:retrain", parameters=parameters, now=until)


def _monitor(what: str, until: str, *, pages: bool = False) -> Chapter:
    """Return a run of the monitor; Evidently's page costs seconds, so only the last one draws it."""
    title, parameters = f"Watch it: {what} (to {until})", {"until": until}
    changes = {} if pages else {"monitoring": {"report_rows": 0}}
    return Chapter(title=title, flow="monitor:monitor", parameters=parameters, now=until, changes=changes)


STORY = [
    *_train_to_challenge("the first model", "2026-03-16"),
    *_train_to_challenge("a model of two columns", "2026-03-16", **TWO_COLUMN_CONFIG),
    _monitor("a quiet stretch", "2026-03-26T12:00"),
    _monitor("one odd day", "2026-03-27T12:00"),
    _monitor("habits change for good", "2026-05-05T12:00"),
    _retrain("The alarm asks for a retraining", "2026-05-05T12:00"),
    _monitor("another wallet spreads", "2026-05-13T12:00", pages=True),
    _retrain("The next alarm asks too soon", "2026-05-13T12:00"),
    Chapter(
        title="Replay what other policies would have done",
        flow="replay:replay",
        parameters={
            "policies": "configured,never,every,periodic:30d",
            "since": "2026-03-26",
            "until": "2026-05-14",
        },
        now="2026-05-14",
    ),
    Chapter(
        title="Roll back by hand",
        flow="rollback:rollback",
        parameters={"reason": "shown in the demo"},
        now="2026-05-14",
    ),
]


def collect_pages(model: str, folder: Path) -> list[Path]:
    """Copy the pages of the newest runs of ``<model>/<concern>`` that have all of them; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    client = open_tracker(open_setup(model).stores).client
    copies = []
    for concern, pages in PAGES.items():
        experiment = client.get_experiment_by_name(f"{model}/{concern}")
        found = [experiment.experiment_id] if experiment else []
        runs = client.search_runs(found, order_by=["attributes.start_time DESC"]) if found else []
        for run in runs:
            artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
            if artifacts.issuperset(pages):
                copies += [client.download_artifacts(run.info.run_id, page, str(folder)) for page in pages]
                break
    return [Path(copy) for copy in copies]


PAYMENT = {
    "amount": 12.9,
    "hour": 23,
    "merchant": "digital",
    "channel": "online",
    "card_age_days": 40,
    "payments_last_hour": 2,
    "distance_km": 3.5,
    "new_device": 1,
    "country_risk": 0.2,
}
"""A payment to predict for: small, late, for digital goods, from a new device."""
_START_S = 120.0


def serve_until_stopped(console: Console, home: Path) -> None:
    """Start the prediction service, ask it once, and stop it at Enter, at Ctrl-C, or at once without a terminal.

    Raises
    ------
    SystemExit
        When it does not start; ``service.log`` says why.
    """
    environment = {name: value for name, value in os.environ.items() if name != "EVERGREEN_NOW"}
    command = [sys.executable, "-m", "evergreen.deployments.cli", "serve", "payments", "--port", "0"]
    with (home / "service.log").open("w", encoding="utf-8") as log:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        with console.status("The service loads the champion ..."):
            url = _ready(service)
        body = json.dumps({"records": [PAYMENT]})
        print(exchange_text(url, body, request_prediction(url, body)))
        if sys.stdin.isatty():
            with suppress(KeyboardInterrupt, EOFError):
                console.input("Press Enter to stop the service. ")
    finally:
        service.terminate()
        service.communicate()
    print("The service has stopped.")


def exchange_text(url: str, body: str, answer: str) -> str:
    """Return where the service is, a command that asks it, and what it answers, in lines of at most 80 characters."""
    return (
        f"Served at:   {url}\nAsk it:\n  curl -s {url} \\\n    -H 'Content-Type: application/json' -d '\n"
        f"{_wrapped(body, indent=4)}'\nIt answers:\n{_wrapped(json.dumps(json.loads(answer)), indent=2)}"
    )


def _wrapped(text: str, *, indent: int) -> str:
    """Return JSON in lines that break at its spaces."""
    room = " " * indent
    return textwrap.fill(
        text, 79, initial_indent=room, subsequent_indent=room, break_long_words=False, break_on_hyphens=False
    )


def request_prediction(url: str, body: str) -> str:
    """Return what the service answers to a body."""
    request = Request(url, data=body.encode(), headers={"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return str(answer.read().decode()).strip()


def _ready(service: subprocess.Popen[str]) -> str:
    """Wait for the service, and return the address that predicts."""
    url = service.stdout.readline().strip() if service.stdout else ""
    end = time.monotonic() + _START_S
    while url and time.monotonic() < end and service.poll() is None:
        try:
            with urlopen(f"{url.split('/models/')[0]}/ready", timeout=5):
                return url
        except URLError:
            time.sleep(0.2)
    raise SystemExit("The service did not start; see .evergreen-demo/service.log.")


def main() -> None:
    """Run every chapter in one process, then print the aliases and where to look."""
    if (HOME / "ledger.db").exists():
        raise SystemExit("The demo has run already. To run it again, remove it by 'make clean-demo' first.")
    started = time.monotonic()
    console = Console()
    _prepare()
    console.print("[bold]A model's first months[/bold] on synthetic card payments (seeded, drift declared).")
    prepare_prefect()
    results = [_play(console, number, chapter) for number, chapter in enumerate(STORY, start=1)]
    _conclude(console, results, time.monotonic() - started)


def _prepare() -> None:
    """Put all state in one folder; nothing of the machine's other stores is used."""
    (HOME / "config").mkdir(parents=True, exist_ok=True)
    os.environ |= {"EVERGREEN_HOME": str(HOME), "EVERGREEN_CONFIG": str(HOME / "config")}
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # it would log how it makes its tables
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL"):
        os.environ.pop(name, None)
    os.environ["PREFECT_HOME"] = str(HOME / "prefect")


def _play(console: Console, number: int, chapter: Chapter) -> dict[str, Any]:
    """Write the chapter's configuration, run its flow, print how it ended."""
    base = files("evergreen.deployments.demo").joinpath("payments.yaml").read_text(encoding="utf-8")
    values = merge(yaml.safe_load(base), chapter.changes)
    (HOME / "config" / "payments.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    os.environ["EVERGREEN_NOW"] = f"{chapter.now}{'' if 'T' in chapter.now else 'T00:00'}+00:00"
    title = f"{number:2}/{len(STORY)}  {chapter.title}"
    with console.status(f"{title} ..."):
        result = run_flow(f"evergreen.flows.{chapter.flow}", {"model": "payments", **chapter.parameters})
    console.print(f"{title}: [bold]{result['state']}[/bold]", highlight=False)
    return result


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::\d\d)?(?:\.\d+)?(?:Z| UTC|[+-]\d\d:\d\d)?")
"""A time in a reason: ISO 8601, with seconds and zone or without."""


def outcomes(results: list[dict[str, Any]]) -> Table:
    """Return the table of how each chapter ended and why: whole reasons, times without seconds and zone."""
    table = Table("", "state", "version", "why", title="What happened, and why")
    for number, result in enumerate(results, start=1):
        why = result["reasons"][0]["message"] if result["reasons"] else ""
        short = escape(_TIME.sub(lambda time: short_time(f"{time[1]}T{time[2]}"), why))
        table.add_row(str(number), result["state"], str(result.get("version") or "-"), short)
    return table


def _conclude(console: Console, results: list[dict[str, Any]], seconds: float) -> None:
    console.print(outcomes(results))
    status = model_status(open_setup("payments"))
    aliases = Table("alias", "version", "stage word", "trained to", title="Aliases now")
    for role in ("champion", "fallback", "challenger", "candidate"):
        holder = status[role] or {}
        trained_to = short_time(holder.get("trained_to", "-"))
        cells = (holder.get("version", "-"), holder.get("stage", "-"), trained_to)
        aliases.add_row(f"@{role}", *map(str, cells))
    console.print(aliases)
    print(f"Ledger and aliases agree: {status['consistent']}. {seconds:.0f} s in all.")
    for page in collect_pages("payments", HOME / "reports"):
        print(f"Look at:     {page.relative_to(Path.cwd())}")
    print("Prefect and MLflow pages:  EVERGREEN_HOME=.evergreen-demo .venv/bin/evergreen up")
    print("Clean up:    make clean-demo")
    serve_until_stopped(console, HOME)


if __name__ == "__main__":
    main()
