"""Replay the public data and write every decision down, to compare two versions: ``python -m benchmarks replays``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.replay_sets import SETS
from benchmarks.replays_compared import compare_folders

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DIGITS = 9
"""Significant digits that numbers are written with."""
FOREIGN = ("EVERGREEN_", "MLFLOW_", "PREFECT_")
OWN = {"OMP_NUM_THREADS": "1", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}
"""Variables of a replay: one thread, and minutes for Prefect's server to start on a busy machine."""
SUMMARY = (
    "mean", "mean_interval", "undefined", "accuracy", "worst", "retrainings", "promotions", "refused", "alarms",
    "rows",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Replay what was asked for, write the decisions, and compare them with those of another run.

    Returns
    -------
    int
        1 where a decision or a number is another one than ``--against`` has, else 0.
    """
    chosen = _parser().parse_args(arguments)
    if chosen.out is None and chosen.against is None:
        print("Name a folder to write to (--out), one to compare with (--against), or both.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        out = chosen.out or Path(scratch)
        for name in chosen.only or SETS:
            count = write_decisions(name, out, data=chosen.data)
            print(f"{name}: {count:,} steps", flush=True)
        if chosen.against is None:
            return 0
        return compare_folders(chosen.against, out, names=chosen.only or list(SETS), words=chosen.words)


def write_decisions(name: str, out: Path, *, data: Path) -> int:
    """Replay one data set and write a line for each policy and each of its steps; return how many steps."""
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    with (out / f"{name}.jsonl").open("w", encoding="utf-8") as file:
        for full, policies in SETS[name]["runs"]:
            for line in lines_of(replay(name, policies, data=data, full=full), full=full):
                file.write(json.dumps(rounded(line)) + "\n")
                count += "step" in line
    return count


def replay(name: str, policies: str, *, data: Path, full: bool) -> dict[str, Any]:
    """Run ``evergreen replay`` in a home of its own and return the document that it logs."""
    one = SETS[name]
    config = {**one["config"], "data": {**one["config"]["data"], "source": str(data / one["file"])}}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        own = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        environ = {**own, **OWN, "EVERGREEN_HOME": str(folder / "home")}
        command = [
            str(Path(sys.executable).with_name("evergreen")),
            "replay",
            str(path),
            "--policies",
            policies,
        ]
        whole = [*command, *(["--full"] if full else []), "--json"]
        done = subprocess.run(whole, cwd=folder, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(
                f"evergreen replay of {name} ended with {done.returncode}: {done.stderr[-2000:]}"
            )
        run = json.loads(done.stdout)["run_id"]
        (document,) = [found for found in folder.rglob("replay.json") if run in found.parts]
        return dict(json.loads(document.read_text(encoding="utf-8")))


def lines_of(document: dict[str, Any], *, full: bool) -> Iterator[dict[str, Any]]:
    """Yield what was decided: a line for each policy, then one for each of its windows.

    Each line holds decisions under their own names, and what they rest on under ``numbers``. Sentences and seconds
    are left out: they may change where no decision does.
    """
    notes = [note["code"] for note in document["notes"]]
    for policy in [*document["policies"], *([document["baseline"]] if document["baseline"] else [])]:
        named = {"policy": policy["policy"], "full": full}
        numbers = {key: policy[key] for key in SUMMARY}
        yield {
            **named,
            "metric": policy["metric"],
            "start": document["start"],
            "notes": notes,
            "numbers": numbers,
        }
        windows, decisions = policy["windows"], policy["decisions"] or [None] * len(policy["windows"])
        for step, (window, decision) in enumerate(zip(windows, decisions, strict=True), start=1):
            found, numbers = _window(window)
            decided, more = ({}, {}) if decision is None else _decision(decision)
            yield {**named, "step": step, **found, **decided, "numbers": {**numbers, **more}}


def rounded(value: Any) -> Any:
    """Return JSON with its numbers rounded to ``DIGITS`` significant digits.

    >>> rounded({"a": [0.12345678949, 3, None, "b"]})
    {'a': [0.123456789, 3, None, 'b']}
    """
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _window(window: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return who answered a window and what monitoring said of it; and its numbers."""
    named = {key: window[key] for key in ("from", "to", "version", "level", "levels")}
    return named, {key: window[key] for key in ("n", "value", "interval", "accuracy")}


def _decision(decision: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return whether a retraining started, why, and how it ended; and the numbers of causes and reasons."""
    causes, reasons = decision["causes"], decision["reasons"]
    named = {
        "outcome": decision["outcome"],
        "causes": [f"{cause['trigger']}:{cause['name']}" for cause in causes],
        "retrained": decision["state"] is not None,
        "state": decision["state"],
        "reasons": [reason["code"] for reason in reasons],
        "made": decision["version"],
        "next_allowed_at": decision["next_allowed_at"],
    }
    sizes = [[cause["size"], cause["limit"], cause["since"], cause["position"]] for cause in causes]
    seen = [[reason["observed"], reason["limit"], reason.get("n")] for reason in reasons]
    return named, {"causes": sizes, "reasons": seen}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks replays", description=__doc__)
    parser.add_argument("--out", type=Path, help="folder to write to, a file of JSON lines for each data set")
    parser.add_argument(
        "--against", type=Path, help="folder that another version wrote; exit code 1 where they differ"
    )
    parser.add_argument(
        "--words", type=Path, help="JSON object of further words, old to new, that are read as the same"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        help="folder of the public data (../shared/data beside the project)",
    )
    parser.add_argument("--only", action="append", choices=list(SETS), help="one data set (can be repeated)")
    return parser
