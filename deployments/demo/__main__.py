"""Run the story and print what happened: ``python -m deployments.demo``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from deployments.cli.session import prepare_prefect, run_flow
from deployments.demo.pages import collect_pages
from deployments.demo.serving import serve_until_asked
from deployments.demo.story import STORY, Chapter
from tasks.core.config.model import merge

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".evergreen-demo"


def main() -> None:
    """Run every chapter in one process, then print the aliases and where to look."""
    if (HOME / "ledger.db").exists():
        raise SystemExit(
            "The demo has run already: look at it, or remove it by 'make clean-demo' and run it again."
        )
    started = time.monotonic()
    console = Console()
    _prepare()
    console.print("[bold]A model's first reign[/bold] on synthetic card payments (seeded, drift declared).")
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
    values = merge(yaml.safe_load((ROOT / "config" / "payments.yaml").read_text()), chapter.changes)
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
    from tasks.io.setup import open_setup
    from tasks.status import model_status

    table = Table(title="What happened", expand=True)
    for name, room in (("step", None), ("state", None), ("version", None), ("why", 1)):
        table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=room)
    for chapter, result in happened:
        why = result["reasons"][0]["message"] if result["reasons"] else ""
        table.add_row(chapter.title, result["state"], str(result.get("version") or "-"), why)
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
        console.print(f"Look at:     {page.relative_to(ROOT)}", highlight=False)
    console.print(
        "Look at it:  EVERGREEN_HOME=.evergreen-demo .venv/bin/evergreen up   (Prefect and MLflow pages)"
    )
    console.print("Clean up:    make clean-demo")
    serve_until_asked(console, HOME)


if __name__ == "__main__":
    main()
