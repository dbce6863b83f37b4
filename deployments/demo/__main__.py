"""Run the story and print what happened: ``python -m evergreen.deployments.demo``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import yaml
from rich.console import Console
from rich.table import Table

from evergreen.deployments.cli.output import prepare_prefect, run_flow
from evergreen.deployments.demo.story import STORY, Chapter
from evergreen.tasks.core.config.model import merge
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from evergreen.tasks.io.setup import open_setup

# Put the pages of monitoring and of the replay where a newcomer finds them.


PAGES = {"monitoring": ("drift.html", "evidently.html"), "retraining": ("replay.html",)}


def collect_pages(model: str, folder: Path) -> list[Path]:
    """Copy the pages of the newest runs of ``<model>/<concern>`` that have all of them; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    return [page for concern, pages in PAGES.items() for page in _newest(model, concern, pages, folder)]


def _newest(model: str, concern: str, pages: tuple[str, ...], folder: Path) -> list[Path]:
    setup = open_setup(model)
    client = open_tracker(setup.stores).client
    experiment = client.get_experiment_by_name(f"{setup.model}/{concern}")
    if experiment is None:
        return []
    for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"]):
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        if files.issuperset(pages):
            return [Path(client.download_artifacts(run.info.run_id, page, str(folder))) for page in pages]
    return []


# The demo's end: its champion is served, until somebody asks for the end.


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
"""A payment to ask about: small, late, for digital goods, from a new device."""
_START_S = 120.0


def serve_until_stopped(console: Console, home: Path) -> None:
    """Start the prediction service, ask it once, show how to ask it, and end it at Enter, Ctrl-C or without a terminal.

    Raises
    ------
    SystemExit
        When it does not start; its own words are in ``service.log``.
    """
    environment = {name: value for name, value in os.environ.items() if name != "EVERGREEN_NOW"}
    command = [sys.executable, "-m", "evergreen.deployments.cli", "serve", "payments", "--port", "0"]
    with (home / "service.log").open("w", encoding="utf-8") as said:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment)
    try:
        with console.status("The service loads the champion ..."):
            url = _ready(service)
        body = json.dumps({"records": [PAYMENT]})
        console.print(f"Served at:   {url}", highlight=False, soft_wrap=True)
        console.print(
            f"Ask it:      curl -s {url} -H 'Content-Type: application/json' -d '{body}'",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
        console.print(
            f"It answers:  {request_prediction(url, body)}", highlight=False, soft_wrap=True, markup=False
        )
        if sys.stdin.isatty():
            _wait_for_enter(console)
    finally:
        service.terminate()
        service.communicate()
    console.print("The service has ended.")


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


def _wait_for_enter(console: Console) -> None:
    try:
        console.input("Press Enter to end the service. ")
    except (KeyboardInterrupt, EOFError):
        console.print()


HOME = Path.cwd() / ".evergreen-demo"


def main() -> None:
    """Run every chapter in one process, then print the aliases and where to look."""
    if (HOME / "ledger.db").exists():
        raise SystemExit(
            "The demo has run already: look at it, or remove it by 'make clean-demo' and run it again."
        )
    started = time.monotonic()
    console = Console()
    _prepare()
    console.print("[bold]A model's first months[/bold] on synthetic card payments (seeded, drift declared).")
    prepare_prefect()
    happened = [_play(console, number, chapter) for number, chapter in enumerate(STORY, start=1)]
    _conclude(console, happened, time.monotonic() - started)


def _prepare() -> None:
    """Put all state in one folder; nothing of the machine's other stores is used."""
    (HOME / "config").mkdir(parents=True, exist_ok=True)
    os.environ |= {"EVERGREEN_HOME": str(HOME), "EVERGREEN_CONFIG": str(HOME / "config")}
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL"):
        os.environ.pop(name, None)
    os.environ["PREFECT_HOME"] = str(HOME / "prefect")


def _play(console: Console, number: int, chapter: Chapter) -> tuple[Chapter, dict[str, Any]]:
    """Write the chapter's configuration, run its flow, say how it ended."""
    values = merge(
        yaml.safe_load(
            files("evergreen.deployments.demo").joinpath("payments.yaml").read_text(encoding="utf-8")
        ),
        chapter.changes,
    )
    (HOME / "config" / "payments.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    os.environ["EVERGREEN_NOW"] = (
        f"{chapter.now}+00:00" if "T" in chapter.now else f"{chapter.now}T00:00+00:00"
    )
    with console.status(f"{number:2}/{len(STORY)}  {chapter.title} ..."):
        result = run_flow(chapter.flow, {"model": "payments", **chapter.parameters})
    console.print(
        f"{number:2}/{len(STORY)}  {chapter.title}: [bold]{result['state']}[/bold]", highlight=False
    )
    return chapter, result


def _conclude(console: Console, happened: list[tuple[Chapter, dict[str, Any]]], seconds: float) -> None:
    from evergreen.tasks.io.setup import open_setup
    from evergreen.tasks.io.status import model_status

    table = Table(title="What happened, and why", expand=True)
    for name, room in (("", None), ("state", None), ("version", None), ("why", 1)):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=room)
    for number, (_, result) in enumerate(happened, start=1):
        why = result["reasons"][0]["message"] if result["reasons"] else ""
        table.add_row(str(number), result["state"], str(result.get("version") or "-"), why)
    console.print(table)
    status = model_status(open_setup("payments"))
    aliases = Table("alias", "version", "stage word", "trained to", title="Aliases now")
    for role in ("champion", "fallback", "challenger", "candidate"):
        holder = status[role] or {}
        cells = (holder.get("version", "-"), holder.get("stage", "-"), holder.get("trained_to", "-"))
        aliases.add_row(f"@{role}", *map(str, cells))
    console.print(aliases)
    console.print(
        f"Ledger and aliases agree: {status['consistent']}. {seconds:.0f} s in all.", highlight=False
    )
    for page in collect_pages("payments", HOME / "reports"):
        console.print(f"Look at:     {page.relative_to(Path.cwd())}", highlight=False)
    console.print(
        "Look at it:  EVERGREEN_HOME=.evergreen-demo .venv/bin/evergreen up   (Prefect and MLflow pages)"
    )
    console.print("Clean up:    make clean-demo")
    serve_until_stopped(console, HOME)


if __name__ == "__main__":
    main()
