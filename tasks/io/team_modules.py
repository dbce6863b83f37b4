"""Where the modules lie that a team wrote itself: metrics, gates, generators and estimators by dotted path."""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.io.settings import Settings


def reach_team_modules(settings: Settings) -> None:
    """Let dotted paths reach the working folder, and the folder that holds the configurations.

    A console script and a worker's process do not look there by themselves. Both come last, so that no file of a
    team stands in front of a library.
    """
    for folder in (Path.cwd(), settings.config_dir.parent):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
