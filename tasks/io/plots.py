"""Figures of a model's answers on the holdout, by kind of problem; matplotlib is imported when one is drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.core.learning.importance import Importance
from tasks.core.logitems import Figure
from tasks.core.metrics.scored import Scored
from tasks.io import plots_classes, plots_numbers
from tasks.io.run_files import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FOLDER = "plots"


def holdout_figures(scored: Scored, *, problem: str) -> list[Figure]:
    """Return the figures that fit a problem; none on no rows.

    Binary: ROC, precision-recall, calibration, confusion. Multiclass: confusion. Regression: predictions and
    residuals. Ranking: NDCG by group.
    """
    if len(scored) == 0:
        return []
    drawings: dict[str, Drawing]
    if problem == "binary":
        drawings = plots_classes.binary_drawings(scored)
    elif problem == "multiclass":
        drawings = {"confusion": plots_classes.confusion(scored)}
    elif problem == "regression":
        drawings = {"residuals": plots_numbers.residuals(scored)}
    else:
        drawings = {"ndcg_by_group": plots_numbers.ndcg_by_group(scored)}
    return [Figure(f"{FOLDER}/{name}.png", drawing) for name, drawing in drawings.items()]


def image_address(figure: Figure) -> str:
    """Return a figure as a ``data:`` address, which a page shows without asking any server."""
    picture = io.BytesIO()
    save_png(figure.figure, picture)
    figure.figure.clear()
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode('ascii')}"


def importance_figure(importances: Sequence[Importance], *, metric: str) -> Figure:
    """Return bars of the (at most 25) most important features with their spread over shuffles."""
    shown = list(importances)[:25][::-1]
    drawing = plots_numbers.canvas(height=1.5 + 0.25 * len(shown))
    axes = drawing.subplots()
    axes.barh([one.feature for one in shown], [one.mean for one in shown], xerr=[one.std for one in shown])
    axes.set_xlabel(f"loss of {metric} when shuffled")
    axes.set_title("Permutation importance (holdout)")
    return Figure(f"{FOLDER}/importance.png", drawing)


def comparison_figure(scores: dict[str, Sequence[float]], *, metric: str, chosen: str | None) -> Figure:
    """Return the fold scores of each candidate side by side, the chosen one marked."""
    drawing = plots_numbers.canvas(width=max(5.0, 2.0 + 1.2 * len(scores)))
    axes = drawing.subplots()
    for place, values in enumerate(scores.values()):
        axes.plot([place] * len(values), values, "o", alpha=0.6)
        axes.plot([place - 0.2, place + 0.2], [sum(values) / len(values)] * 2, "k-")
    axes.set_xticks(range(len(scores)), [f"{name} *" if name == chosen else name for name in scores])
    axes.margins(x=0.2)
    axes.set_ylabel(metric)
    axes.set_title("Score by fold (bar: mean, *: chosen)")
    return Figure(f"{FOLDER}/candidates.png", drawing)
