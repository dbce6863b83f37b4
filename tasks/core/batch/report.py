"""The page of a batch: what was scored by whom, and where it went."""

from __future__ import annotations

from tasks.core.verdict import StageResult


def score_markdown(result: StageResult) -> str:
    """Return the Markdown page of a scored batch."""
    job, told = result.details["job"], result.details
    target = (
        f"`{job['to']}`"
        if job["table"] is None
        else f"table `{job['table']}` of `{job['to']}` ({job['mode']})"
    )
    rows = [
        ("version", f"{job['version']}"),
        ("rows", f"{told['rows']:,} in {told['parts']:,} parts of at most {job['rows']:,}"),
        ("taken up", f"{told['taken_up']:,} parts that a run before had left"),
        ("from", job["source"]),
        ("to", f"{target}, {told['written']:,} rows new"),
        ("logged", f"{told['logged']:,} new predictions" if job["logged"] else "no"),
    ]
    lines = [f"# {result.model}: scored", "", "| | |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)]) + "\n"
