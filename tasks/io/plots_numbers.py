"""Drawings for regression and ranking, and the canvas all drawings share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.core.metrics.registry import get_metric
from tasks.core.metrics.scored import Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_POINTS = 5000
MOST_GROUPS = 2000


SHARES = {"left": 0.13, "right": 0.97, "bottom": 0.13, "top": 0.92}
"""Margins of a drawing of 5 x 4 inches whose axes are labelled 0.0 to 1.0."""


def canvas(*, width: float = 5.0, height: float = 4.0) -> Figure:
    """Return an empty drawing that belongs to no global state; its margins fit its labels.

    Parameters
    ----------
    width, height : float
        Inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def canvas_of_shares() -> Figure:
    """Return an empty drawing for axes from 0 to 1: no layout has to be found, which costs as much as to draw."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5.0, 4.0))
    drawing.subplots_adjust(**SHARES)
    return drawing


def residuals(scored: Scored) -> Figure:
    """Draw predictions against outcomes, and the spread of the residuals."""
    observed, predicted = scored.y.astype(float), scored.require("score").astype(float)
    step = max(1, len(observed) // MOST_POINTS)
    drawing = canvas(width=10.0)
    left, right = drawing.subplots(1, 2)
    left.plot(predicted[::step], observed[::step], ".", alpha=0.3)
    ends = [float(min(observed.min(), predicted.min())), float(max(observed.max(), predicted.max()))]
    left.plot(ends, ends, "--", color="gray")
    left.set(xlabel="predicted", ylabel="observed", title="Observed and predicted")
    right.hist(observed - predicted, bins=50)
    right.set(xlabel="observed minus predicted", ylabel="rows", title="Residuals")
    return drawing


def ndcg_by_group(scored: Scored) -> Figure:
    """Draw how NDCG@3 spreads over (at most 2,000) groups."""
    groups = scored.require("group")
    metric = get_metric("ndcg_at_3", problem="ranking")
    chosen = np.unique(groups)[:MOST_GROUPS]
    values = np.array([metric(scored.take(groups == group)) for group in chosen])
    drawing = canvas()
    axes = drawing.subplots()
    axes.hist(values[np.isfinite(values)], bins=20)
    axes.set(xlabel="NDCG@3", ylabel="groups", title="NDCG@3 by group")
    return drawing
