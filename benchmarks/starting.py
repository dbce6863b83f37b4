"""CPU seconds of commands that do little: what it costs to start. ``python -m benchmarks starting``."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measured import machine
from benchmarks.starting_home import MODEL, CommandCost, Home, make_home

WITHOUT, WITH = "without servers", "with servers"
GONE = "http://127.0.0.1:9"
"""An address of MLflow at which nothing answers."""
WHY = ("--reason", "to measure it")
AB_STATUS = "ab status"
DOCTOR = "doctor, MLflow gone"
TOGETHER = ("reconcile", MODEL)
"""What is started twenty times at one moment, without servers."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command that is measured.

    Attributes
    ----------
    arguments : tuple of str
        After ``evergreen``.
    before, after : tuple of tuple of str
        Commands around it that are not measured.
    """

    arguments: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()


CASES = {
    "--help": Case(arguments=("--help",)),
    "status": Case(arguments=("status", MODEL, "--json")),
    "due": Case(arguments=("due", MODEL, "--json")),
    "alert": Case(arguments=("alert", MODEL, "--json")),
    "promote": Case(arguments=("promote", MODEL, "--version", "CHALLENGER", *WHY, "--json")),
    "rollback": Case(arguments=("rollback", MODEL, *WHY, "--json")),
    "pause": Case(arguments=("pause", MODEL, *WHY, "--json")),
    "retrain, blocked by the pause": Case(arguments=("retrain", MODEL, "--json"), after=(("resume", MODEL),)),
    "traffic stop": Case(
        arguments=("traffic", "stop", MODEL, *WHY, "--json"),
        before=(("traffic", "set", MODEL, "--challenger", "CHALLENGER@10%", *WHY),),
    ),
    "monitor, no window due": Case(arguments=("monitor", MODEL, "--json")),
}
"""In the order in which they are run: each leaves the home as the next one needs it."""


def main(arguments: list[str]) -> int:
    """Measure, print the table, and keep the figures where that was asked for."""
    chosen = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        home = make_home(Path(folder))
        challenger = str(home.run("status", MODEL)["challenger"]["version"])
        figures = {WITHOUT: measure(home, challenger, runs=chosen.runs, name="first")}
        print(f"20 of '{' '.join(TOGETHER)}' together ...", flush=True)
        together = home.start_together(20, *TOGETHER)
        try:
            home.run("up", "--prefect-port", "4600", "--mlflow-port", "5600")
            figures[WITH] = measure(home, challenger, runs=chosen.runs, name="second")
        finally:
            home.run("down")
        if not chosen.no_doctor:
            print("doctor, with MLflow gone ...", flush=True)
            figures[WITHOUT][DOCTOR] = [home.spend("doctor", "--json", MLFLOW_TRACKING_URI=GONE)]
    plain = {
        where: {name: [cost.to_dict() for cost in costs] for name, costs in found.items()}
        for where, found in figures.items()
    }
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    before = None if chosen.before is None else json.loads(chosen.before.read_text(encoding="utf-8"))
    print(f"\n{machine()}; median of {chosen.runs} runs (doctor: one run)\n")
    print(table(plain, before))
    said = ", ".join(f"{name}: {number}" for name, number in together.items())
    print(f"\n20 commands `{' '.join(TOGETHER)}` started together without servers: {said}.")
    return 0


def measure(home: Home, challenger: str, *, runs: int, name: str) -> dict[str, list[CommandCost]]:
    """Run every command ``runs`` times, in turn; ``name`` is that of its live test."""
    found: dict[str, list[CommandCost]] = {}
    for number in range(runs):
        for what, case in CASES.items():
            for one in case.before:
                home.run(*_naming(one, challenger))
            cost = home.spend(*_naming(case.arguments, challenger))
            for one in case.after:
                home.run(*_naming(one, challenger))
            found.setdefault(what, []).append(cost)
            print(f"run {number + 1} of {what}: {cost.to_dict()}", flush=True)
    home.run(
        "ab", "create", MODEL, "--challenger", challenger, "--name", name, "--hypothesis", "None: to measure."
    )
    costs = [home.spend("ab", "status", MODEL, "--json") for _ in range(runs)]
    home.run("ab", "abort", MODEL, *WHY)
    return {**found, AB_STATUS: costs}


def table(figures: dict[str, Any], before: dict[str, Any] | None = None) -> str:
    """Return the figures as markdown: CPU seconds of each command, its smoke test apart, wall seconds, its state."""
    lines = [
        "| command | servers | CPU s | of it smoke test | wall s | state |"
        + (" CPU s before | wall s before |" if before else ""),
        "| --- | --- | ---: | ---: | ---: | --- |" + (" ---: | ---: |" if before else ""),
    ]
    for where, found in figures.items():
        for name, costs in found.items():
            lines.append(f"| {name} | {where.partition(' ')[0]} |{_cells(costs)} {costs[-1]['state']} |")
            if before:
                old = before[where].get(name)
                lines[-1] += _cells(old, ("cpu_s", "wall_s")) if old else " not measured | |"
    return "\n".join(lines)


def _cells(costs: list[dict[str, Any]], keys: tuple[str, ...] = ("cpu_s", "smoke_s", "wall_s")) -> str:
    return "".join(f" {statistics.median(cost[key] for cost in costs):.2f} |" for key in keys)


def _naming(arguments: tuple[str, ...], challenger: str) -> list[str]:
    return [one.replace("CHALLENGER", challenger) for one in arguments]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks starting", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each command (default: 3)")
    parser.add_argument("--out", type=Path, help="JSON file to keep the figures in")
    parser.add_argument("--before", type=Path, help="figures of another version, shown beside")
    parser.add_argument(
        "--no-doctor", action="store_true", help="leave out the doctor, which may take minutes"
    )
    return parser
