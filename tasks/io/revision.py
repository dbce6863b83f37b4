"""The code revision a run was made by."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]


@lru_cache(maxsize=1)
def code_revision() -> str:
    """Return git's commit of the project, with ``+changes`` where files differ; ``unknown`` without git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return "unknown"
    return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=_PROJECT, capture_output=True, text=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
