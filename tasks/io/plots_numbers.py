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


def canvas(*, width: float = 5.0, height: float = 4.0) -> Figure:
    """Return an empty drawing that belongs to no global state.

    Parameters
    ----------
    width, height : float
        Inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


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
