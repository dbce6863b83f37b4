"""Run benchmarks and write their tables to benchmarks/RESULTS.md: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import challenge
from benchmarks.measured import machine, table

BENCHMARKS = {"challenge": challenge.run}
RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Measured against peers

Written by `make bench`; both sides run in one process, CPU seconds, ratio = peer / ours."""


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"Unknown benchmark '{unknown[0]}'. Known: {', '.join(BENCHMARKS)}.", file=sys.stderr)
        return 2
    sections = read_sections(RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else "")
    for name in names or BENCHMARKS:
        sections[name] = f"{machine()}\n\n{table(BENCHMARKS[name]())}"
        print(f"## {name}\n\n{sections[name]}\n")
    parts = [HEAD, *(f"## {name}\n\n{text}" for name, text in sorted(sections.items()))]
    RESULTS.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return 0


def read_sections(page: str) -> dict[str, str]:
    """Return the text under each second-level heading; benchmarks that were not run keep their table."""
    found = (section.partition("\n") for section in page.split("\n## ")[1:])
    return {name.strip(): text.strip() for name, _, text in found}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
