"""What a training learns from: where its rows begin, and how much each of them counts."""

from __future__ import annotations

import dataclasses
import math

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.data.timeline import newest_from, newest_rows_from
from evergreen.tasks.core.verdict import Reason


def training_start(
    places: FloatArray, *, end: float, config: ModelConfig, change_at: float | None = None, held: float = 0.0
) -> float:
    """Return the position at which the rows to learn from begin, by ``retraining.window``; -inf: all history.

    Parameters
    ----------
    places : array, shape (n,)
        Positions of the rows that may be learned from: labelled, the label known in time.
    end : float
        Where they end; durations are measured back from here.
    change_at : float, optional
        Position of the last detected change. ``since_change`` begins here, or earlier, where fewer than
        ``retraining.min_rows_since_change`` of the rows came since; without one it takes all history.
    held : float
        Share of the newest rows, in [0, 1], that is going to be put aside: the window is lengthened so that its
        whole length is left.
    """
    retraining, clock = config.retraining, config.data.clock
    window = retraining.window
    if held >= 1 or window == "full":
        return -math.inf
    if isinstance(window, Span):
        if clock == "rows" and window.unit == "seconds":
            return -math.inf  # the default; one that somebody wrote is refused with the configuration
        longer = dataclasses.replace(window, amount=window.amount / (1 - held))
        return newest_from(places, longer, end=end, clock=clock)
    if change_at is None:
        return -math.inf
    fewest = math.ceil(retraining.min_rows_since_change / (1 - held))
    return min(change_at, newest_rows_from(places, fewest))


def describe_start(
    places: FloatArray, *, config: ModelConfig, change_at: float | None = None
) -> tuple[Reason, ...]:
    """Say why ``since_change`` did not begin at a change; nothing where it did, or for another window.

    ``places`` are the positions of the rows that are learned from, shape (n,).
    """
    retraining = config.retraining
    if retraining.window != "since_change":
        return ()
    if change_at is None:
        message = "No change was detected so far, so that retraining.window since_change is all of history."
        return (Reason(code="no_change_known", message=message, n=len(places)),)
    since, fewest = int((places >= change_at).sum()), retraining.min_rows_since_change
    if since == len(places):
        return ()
    message = (
        f"{since} rows to learn from came since the change at {format_position(change_at, clock=config.data.clock)}; "
        f"training reaches further back, to {len(places)} rows (retraining.min_rows_since_change {fewest})."
    )
    numbers = {"observed": float(since), "limit": float(fewest)}
    return (Reason(code="reaches_before_change", message=message, **numbers, n=len(places)),)
