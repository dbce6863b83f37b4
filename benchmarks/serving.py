"""`mlflow models serve` beside `evergreen serve`: the same model, the same machine, one worker each."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.serving_models import MODELS, bodies, environ
from benchmarks.serving_sides import Side, load, requests_of, scores, sides, started

CLIENTS = (32, 1)
ROUNDS = 3
SECONDS = {"mlflow": 12.0, "off": 6.0, "durable": 6.0}
_NAMES = {
    "mlflow": "`mlflow models serve`",
    "off": "`evergreen serve`, log off",
    "durable": "`evergreen serve`, durable log",
}
Found = dict[tuple[str, int], dict[str, float]]


def run() -> str:
    """Return the tables and the bars."""
    with tempfile.TemporaryDirectory(prefix="evergreen-bench-") as name:
        folder = Path(name)
        program = "import pathlib, sys; from benchmarks.serving_models import build; build(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", program, name], env=environ(folder), check=True)
        found = {model: measure(model, folder) for model in MODELS}
    parts = [_HEAD, *(f"**{_TITLES[model]}**\n\n{table(rows)}" for model, rows in found.items())]
    return "\n\n".join([*parts, "\n".join(bars(found["numbers"]))])


def measure(model: str, folder: Path) -> Found:
    """Return what clients saw of each server: the median of some rounds in turn."""
    asked = bodies(model)
    seen: dict[tuple[str, int], list[dict[str, Any]]] = {}
    answers: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for side in sides(model):
            place = write_requests(side, asked, folder)
            with started(side, folder, environ(folder)) as port:
                answers[side.name] = scores(side, port, asked)
                for clients in CLIENTS:
                    one = load(port, place, clients=clients, seconds=SECONDS[side.name])
                    seen.setdefault((side.name, clients), []).append(one)
        _assert_equal(answers)
    keys = ("per_second", "p50_ms", "p99_ms", "load_cpu")
    return {
        at: {key: statistics.median(one[key] for one in many) for key in keys} for at, many in seen.items()
    }


def table(found: Found) -> str:
    """Return one model's results as markdown."""
    lines = [
        "| server | clients | requests/s | p50 ms | p99 ms | requests/s, times the peer's | p50, share of its | "
        "p99, share of its |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (side, clients), one in found.items():
        peer = found["mlflow", clients]
        ratios = " | ".join(
            (
                f"{one['per_second'] / peer['per_second']:.1f}",
                _share(one, peer, "p50_ms"),
                _share(one, peer, "p99_ms"),
            )
        )
        lines.append(
            f"| {_NAMES[side]} | {clients} | {one['per_second']:,.0f} | {one['p50_ms']:.2f} | {one['p99_ms']:.2f} "
            f"| {ratios} |"
        )
    return "\n".join(lines)


def bars(found: Found) -> list[str]:
    """Return what was promised, and whether it held (of the model of numbers)."""
    many, one = CLIENTS
    peer = found["mlflow", many]
    off, durable = found["off", many], found["durable", many]
    alone = {name: found[name, one]["p50_ms"] for name in _NAMES}
    checks = [
        (
            "32 clients, log off: requests/s, times the peer's",
            off["per_second"] / peer["per_second"],
            40.0,
            True,
        ),
        (
            "32 clients, durable: requests/s, times the peer's",
            durable["per_second"] / peer["per_second"],
            20.0,
            True,
        ),
        ("32 clients, log off: p99, share of the peer's", off["p99_ms"] / peer["p99_ms"], 0.1, False),
        ("32 clients, durable: p99, share of the peer's", durable["p99_ms"] / peer["p99_ms"], 0.1, False),
        ("one client, log off: p50, share of the peer's", alone["off"] / alone["mlflow"], 0.25, False),
        ("one client, durable: p50, share of the peer's", alone["durable"] / alone["mlflow"], 1.0, False),
    ]
    return [
        f"- {what}: {value:.3g}, bar {'at least' if least else 'at most'} {bar:g}: "
        f"{'held' if (value >= bar) == least or value == bar else 'MISSED'}."
        for what, value, bar, least in checks
    ]


def write_requests(side: Side, asked: list[bytes], folder: Path) -> Path:
    place = folder / f"requests-{side.model}-{side.name}"
    place.mkdir(exist_ok=True)
    for number, request in enumerate(requests_of(side, asked)):
        (place / f"{number:04d}").write_bytes(request)
    return place


def _assert_equal(answers: dict[str, list[float]]) -> None:
    """Stop unless all servers gave every row the same score."""
    for name, given in answers.items():
        worst = max(abs(a - b) for a, b in zip(given, answers["mlflow"], strict=True))
        if worst > 1e-9:
            raise AssertionError(f"'{name}' answers differ from the peer's by {worst:.3g}.")


def _share(one: dict[str, float], peer: dict[str, float], key: str) -> str:
    return f"{one[key] / peer[key]:.3f}"


_TITLES = {
    "numbers": "StandardScaler and HistGradientBoosting of 100 trees, 20 float columns",
    "texts": "the same with 4 text columns more (no bar)",
}
_HEAD = (
    "One-row requests, the same bytes for every server (`dataframe_split`), over kept connections, "
    f"checked against the signature on both sides; {os.cpu_count()} cores, one worker each on the first, the load on "
    "the second (raw sockets, prebuilt bytes). "
    f"Median of {ROUNDS} rounds in turn; every score of every round was the same on all sides (to 1e-9)."
)
