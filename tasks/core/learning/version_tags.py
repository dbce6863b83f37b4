"""The story a version's tags tell: what it learned from, and why it was trained."""

from __future__ import annotations

import math

from tasks.core.data.clock import format_position
from tasks.core.data.rows import Rows
from tasks.core.data.split_plan import SplitPlan


def version_tags(
    plan: SplitPlan, training: Rows, *, trigger: str, fingerprint: str | None = None
) -> dict[str, str]:
    """Return tags for a version and its run.

    Parameters
    ----------
    plan : SplitPlan
        How the rows were divided.
    training : Rows
        Rows it learned from.
    trigger : str
        What asked for the training: ``manual``, ``schedule``, ``drift``, …
    fingerprint : str, optional
        Of all rows used, where it is known; default: of the training rows.
    """
    tags = {
        "evergreen.trigger": trigger,
        "evergreen.split": plan.method,
        "evergreen.data_fingerprint": fingerprint or training.fingerprint,
        "evergreen.training_rows": str(len(training)),
    }
    if plan.training is not None:
        if math.isfinite(plan.training.start):
            tags["evergreen.trained_from"] = format_position(plan.training.start, clock=plan.clock)
        tags["evergreen.trained_to"] = format_position(plan.training.end, clock=plan.clock)
    return tags
