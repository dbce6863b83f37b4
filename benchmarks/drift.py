"""Drift of one file against a reference: ours beside Evidently's preset and a bare scan, each in its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROWS, COLUMNS = 1_000_000, 100
GROWTH = ((250_000, 100), (500_000, 100), (1_000_000, 100), (1_000_000, 25), (1_000_000, 50))
CPU_BAR, MEMORY_BAR, SCAN_BAR = 150.0, 10.0, 1.5
REPEATS = 5
SIDES = {
    "scan": "bare scan: `pyarrow.parquet.ParquetFile(…).iter_batches()`, all columns, defaults",
    "scan_lean": "leanest scan we know: a column at a time, text as codes, one thread, 256 KiB read ahead",
    "reference": "ours, once at training: grid from a sample of 200,000 rows, profile of the whole reference",
    "ours": "ours: profile of the current file over that grid, every measure of every column",
    "evidently": "Evidently: `DataDriftPreset` on both files, read by pandas",
}


@dataclass(frozen=True, kw_only=True)
class ScanCost:
    """What a process cost.

    Attributes
    ----------
    cpu_s : float
        User and system seconds of the whole process, start and imports included.
    peak_mb : float
        Largest resident size.
    answer : object
        What it said.
    """

    cpu_s: float
    peak_mb: float
    answer: Any


def run(*, rows: int = ROWS, columns: int = COLUMNS, peer: bool = True) -> str:
    """Return the results as markdown; the files are made anew in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows=rows, columns=columns)
        costs = {"reference": spend("reference", folder)} | least(("scan", "scan_lean", "ours"), folder)
        exact = spend("check", folder).answer
        growth = grow(folder.parent, rows=rows, columns=columns)
        if peer:
            costs["evidently"] = spend("evidently", folder)
    return "\n\n".join([_head(rows, columns), _table(costs), _bars(costs, exact), _growth(growth)])


def grow(folder: Path, *, rows: int, columns: int) -> list[tuple[int, int, ScanCost, ScanCost]]:
    """Return our cost, and the bare scan's, at several sizes, scaled to the one asked for."""
    found = []
    for full_rows, full_columns in GROWTH:
        n, p = full_rows * rows // ROWS, full_columns * columns // COLUMNS
        with tempfile.TemporaryDirectory(dir=folder) as name:
            write(Path(name), rows=n, columns=p)
            spend("reference", Path(name))
            costs = least(("scan", "ours"), Path(name))
            found.append((n, p, costs["ours"], costs["scan"]))
    return found


def write(folder: Path, *, rows: int, columns: int) -> None:
    program = (
        "import sys; from pathlib import Path; from benchmarks.drift_files import write_pair; "
        "write_pair(Path(sys.argv[1]), rows=int(sys.argv[2]), columns=int(sys.argv[3]))"
    )
    _child(["-c", program, str(folder), str(rows), str(columns)])


def least(sides: Sequence[str], folder: Path) -> dict[str, ScanCost]:
    """Return each side's cheapest of some runs, taken in turn: other work on the machine only adds."""
    rounds = [{side: spend(side, folder) for side in sides} for _ in range(REPEATS)]
    return {side: min((one[side] for one in rounds), key=lambda cost: cost.cpu_s) for side in sides}


def spend(side: str, folder: Path) -> ScanCost:
    """Run one side in a process of its own; return what that cost."""
    said, cpu = _child(["-m", "benchmarks.drift_child", side, str(folder)])
    plain = json.loads(said.splitlines()[-1])
    return ScanCost(cpu_s=cpu, peak_mb=plain["peak_mb"], answer=plain["answer"])


def _child(arguments: Sequence[str]) -> tuple[str, float]:
    """Return what a Python process wrote, and its CPU seconds."""
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([sys.executable, *arguments], cwd=root, stdout=said)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(
                f"'{' '.join(arguments)}' ended with exit code {process.returncode}; see above."
            )
        said.seek(0)
        return said.read(), usage.ru_utime + usage.ru_stime


def _head(rows: int, columns: int) -> str:
    texts = columns // 5
    return (
        f"{rows:,} rows × {columns} columns of Parquet ({columns - texts} numeric, {texts} text), row groups "
        "of 125,000. Each side runs in a process of its own on the same files; CPU is that of the whole process, start "
        f"and imports included, the least of {REPEATS} runs in turn (Evidently and the reference: one)."
    )


def _table(costs: dict[str, ScanCost]) -> str:
    lines = ["| side | CPU s | peak MB | said |", "| --- | ---: | ---: | --- |"]
    said = {"ours": "{} columns drifted", "evidently": "{} columns drifted", "reference": "{} columns"}
    for side, cost in costs.items():
        answer = said.get(side, "{:,} rows").format(cost.answer)
        lines.append(f"| {SIDES[side]} | {cost.cpu_s:.2f} | {cost.peak_mb:,.0f} | {answer} |")
    return "\n".join(lines)


def _bars(costs: dict[str, ScanCost], exact: dict[str, float]) -> str:
    ours, lean = costs["ours"], costs["scan_lean"]
    lines = [_bar("CPU, ours / bare scan", ours.cpu_s / costs["scan"].cpu_s, SCAN_BAR, most=True)]
    if "evidently" in costs:
        peer = costs["evidently"]
        lines.append(_bar("CPU, Evidently / ours", peer.cpu_s / ours.cpu_s, CPU_BAR))
        lines.append(_bar("memory, Evidently / ours", peer.peak_mb / ours.peak_mb, MEMORY_BAR))
    lines.append(f"- CPU, ours / leanest scan: {ours.cpu_s / lean.cpu_s:.2f} (no bar).")
    lines.append(
        f"- {exact['columns']:.0f} columns compared with all rows: KS too small by at most {exact['ks']:.5f} "
        f"(stated bound {exact['ks_bound']:.5f}), PSI off by at most {exact['psi']:.5f}."
    )
    return "\n".join(lines)


def _bar(what: str, value: float, bar: float, *, most: bool = False) -> str:
    held = value <= bar if most else value >= bar
    return f"- {what}: {value:,.2f}, bar {'at most' if most else 'at least'} {bar:g}: {'held' if held else 'MISSED'}."


def _growth(rows: list[tuple[int, int, ScanCost, ScanCost]]) -> str:
    lines = ["| rows | columns | ours, CPU s | peak MB | bare scan, CPU s | peak MB |", "| ---: " * 6 + "|"]
    for n, p, ours, scan in rows:
        lines.append(
            f"| {n:,} | {p} | {ours.cpu_s:.2f} | {ours.peak_mb:,.0f} | {scan.cpu_s:.2f} | {scan.peak_mb:,.0f} |"
        )
    return "\n".join(lines)
