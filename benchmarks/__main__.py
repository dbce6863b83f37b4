"""Run benchmarks and write their tables to benchmarks/RESULTS.md: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import challenge, drift, replays, serving, starting
from benchmarks.measured import machine, table

BENCHMARKS = {"challenge": challenge.run, "drift": drift.run, "serving": serving.run}
MEASURES = {"replays": replays.main, "starting": starting.main}
"""Without a peer, to compare one version with another; options of their own."""
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Measured against peers

Written by `make bench`; both sides run in one command on one machine, CPU seconds, ratio = peer / ours."""


def main(
    arguments: list[str],
    *,
    results: Path = RESULTS,
    benchmarks: Mapping[str, Callable[..., Any]] = BENCHMARKS,
) -> int:
    """Run benchmarks; the page of results keeps the tables of those that were not run."""
    if arguments and arguments[0] in MEASURES:
        return MEASURES[arguments[0]](arguments[1:])
    chosen = _parser().parse_args(arguments)
    unknown = [name for name in chosen.names if name not in benchmarks]
    if unknown:
        print(f"Unknown benchmark '{unknown[0]}'. Known: {', '.join(benchmarks)}.", file=sys.stderr)
        return 2
    sizes = {name: value for name in ("rows", "columns") if (value := getattr(chosen, name)) is not None}
    runs = {**benchmarks, "drift": partial(benchmarks["drift"], **sizes)} if sizes else benchmarks
    sections = read_sections(results.read_text(encoding="utf-8") if results.is_file() else "")
    for name in chosen.names or benchmarks:
        found = runs[name]()
        sections[name] = f"{machine()}\n\n{found if isinstance(found, str) else table(found)}"
        print(f"## {name}\n\n{sections[name]}\n")
    if not sizes:
        parts = [HEAD, *(f"## {name}\n\n{text}" for name, text in sorted(sections.items()))]
        results.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return 0


def read_sections(page: str) -> dict[str, str]:
    """Return the text under each second-level heading; benchmarks that were not run keep their table."""
    found = (section.partition("\n") for section in page.split("\n## ")[1:])
    return {name.strip(): text.strip() for name, _, text in found}


def _parser() -> argparse.ArgumentParser:
    alone = f"To compare versions of the product: {', '.join(MEASURES)}, which have options of their own (--help)."
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, epilog=alone)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all by default")
    other = "of the drift benchmark; with another size than the default the results page is left as it is"
    parser.add_argument("--rows", type=int, help=f"rows {other}")
    parser.add_argument("--columns", type=int, help=f"columns {other}")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
