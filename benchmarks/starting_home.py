"""A small home with a champion, and its commands run as people run them, with what each of them cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import yaml

MODEL = "small"
HOURS = 2_000
FOREIGN = ("EVERGREEN_", "MLFLOW_", "PREFECT_")
PATIENT = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}
"""A busy machine may take minutes to start Prefect's server; that costs no CPU."""
EVERY_S = 0.05
"""Seconds between two looks at the processes of a command."""


@dataclass(frozen=True, kw_only=True)
class CommandCost:
    """What one run of a command cost.

    Attributes
    ----------
    cpu_s : float
        CPU seconds, user and system, of the command and of the processes it waited for.
    smoke_s : float
        Of these, what smoke tests took in processes of their own, read every ``EVERY_S`` seconds.
    wall_s : float
        Seconds until it ended.
    exit_code : int
        0 for any decided outcome.
    answer : dict
        The JSON object on its stdout; empty where it prints none.
    """

    cpu_s: float
    smoke_s: float
    wall_s: float
    exit_code: int
    answer: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, and the state that the command ended in."""
        figures = {name: round(getattr(self, name), 3) for name in ("cpu_s", "smoke_s", "wall_s")}
        return {**figures, "exit_code": self.exit_code, "state": str(self.answer.get("state", ""))}


@dataclass(frozen=True, kw_only=True)
class Home:
    """A folder with the configuration of one model; state is in ``.evergreen`` below it."""

    folder: Path

    def spend(self, *arguments: str, **environ: str) -> CommandCost:
        """Run ``evergreen ARGUMENTS`` in the folder and return what it cost."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        command = [str(Path(sys.executable).with_name("evergreen")), *arguments]
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as noted:
            begun = time.monotonic()
            process = subprocess.Popen(
                command, cwd=self.folder, env={**own, **PATIENT, **environ}, stdout=said, stderr=noted
            )
            smoke: dict[int, float] = {}
            while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
                smoke |= _smoke_seconds(process.pid)
                time.sleep(EVERY_S)
            wall = time.monotonic() - begun
            _, status, usage = ended
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            noted.seek(0)
            answer = said.read()
            if process.returncode and arguments[0] != "doctor":
                raise SystemExit(f"evergreen {' '.join(arguments)} failed: {answer}{noted.read()[-2000:]}")
        return CommandCost(
            cpu_s=usage.ru_utime + usage.ru_stime, smoke_s=sum(smoke.values()), wall_s=wall,
            exit_code=process.returncode, answer=json.loads(answer) if answer.startswith("{") else {},
        )  # fmt: skip

    def start_together(self, number: int, *arguments: str) -> dict[str, int]:
        """Start a command many times at once; return how many ended well, and how many met a locked database."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        command = [str(Path(sys.executable).with_name("evergreen")), *arguments]
        started = [
            subprocess.Popen(
                command,
                cwd=self.folder,
                env={**own, **PATIENT},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(number)
        ]
        printed = [process.communicate()[1] for process in started]
        return {
            "ended well": sum(process.returncode == 0 for process in started),
            "database is locked": sum("database is locked" in text for text in printed),
        }

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run a command for what it does; return its answer."""
        return self.spend(*arguments, "--json").answer


def make_home(folder: Path) -> Home:
    """Write a model and bring it to a champion and an approved version beside it, by the commands alone."""
    (folder / "config").mkdir()
    _write_hours(folder / "config" / f"{MODEL}.csv")
    (folder / "config" / f"{MODEL}.yaml").write_text(yaml.safe_dump(_configuration()), encoding="utf-8")
    home = Home(folder=folder)
    for verb in ("train", "validate", "challenge", "monitor", "train", "validate"):
        home.run(verb, MODEL)
    return home


def _configuration() -> dict[str, Any]:
    return {
        "problem": "binary",
        "data": {"source": f"{MODEL}.csv", "target": "y", "time": "at"},
        "split": {"holdout": "14d"},
        "training": {
            "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
            "folds": 3,
            "importance_repeats": 1,
        },
        "evaluation": {"metric": "roc_auc", "validation_window": "14d"},
        "live": {"metric": "accuracy"},
    }


def _write_hours(path: Path) -> None:
    """Write hourly rows whose outcome follows ``x``."""
    rng = np.random.default_rng(7)
    x, z = rng.normal(size=HOURS), rng.normal(size=HOURS)
    y = (rng.random(HOURS) < 1 / (1 + np.exp(-2.0 * x))).astype(int)
    at = pd.date_range("2026-01-01", periods=HOURS, freq="h", tz="UTC")
    pd.DataFrame({"at": at, "x": x, "z": z, "y": y}).to_csv(path, index=False)


def _smoke_seconds(pid: int) -> dict[int, float]:
    """Return the CPU seconds so far of each process below a command that smoke-tests a version."""
    try:
        return dict(_used(psutil.Process(pid).children(recursive=True)))
    except psutil.NoSuchProcess:
        return {}


def _used(processes: Iterable[psutil.Process]) -> Iterable[tuple[int, float]]:
    for process in processes:
        try:
            if any("smoke" in part for part in process.cmdline()):
                spent = process.cpu_times()
                yield process.pid, spent.user + spent.system
        except psutil.NoSuchProcess:
            continue
