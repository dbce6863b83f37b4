"""What a benchmark hands on, and the table it is shown in."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One task done both ways.

    Attributes
    ----------
    task : str
        What was done.
    ours, peer : str
        The two ways.
    ours_s, peer_s : float
        CPU seconds; the peer's are scaled where ``note`` says so.
    ours_answer, peer_answer : str
        What each side said, so that one sees that the same was computed.
    note : str
        What a reader must know to judge the figures.
    """

    task: str
    ours: str
    peer: str
    ours_s: float
    peer_s: float
    ours_answer: str
    peer_answer: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the peer's CPU time ours is saved."""
        return self.peer_s / self.ours_s


def cpu_seconds(work: Callable[[], Any], *, repeats: int = 1) -> tuple[float, Any]:
    """Return the least CPU time of some repeats, in seconds, and the last answer."""
    times, answer = [], None
    for _ in range(repeats):
        started = time.process_time()
        answer = work()
        times.append(time.process_time() - started)
    return min(times), answer


def table(rows: list[Measured]) -> str:
    """Return the results as markdown."""
    lines = [
        "| task | ours | CPU s | peer | CPU s | ratio |",
        "| --- | --- | ---: | --- | ---: | ---: |",
        *(
            f"| {row.task} | {row.ours}: {row.ours_answer} | {row.ours_s:.3f} "
            f"| {row.peer}: {row.peer_answer} | {row.peer_s:.1f} | {row.ratio:,.0f} |"
            for row in rows
        ),
        "",
        *(f"- {row.task}: {row.note}" for row in rows if row.note),
    ]
    return "\n".join(lines).rstrip()


def machine() -> str:
    """Return the machine in general words: cores, system, Python."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
