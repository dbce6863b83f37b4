"""Figures of a model's answers on the holdout, by kind of problem; matplotlib is imported when one is drawn."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.tasks.core.log_items import Figure
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.training.training import Importance
from evergreen.tasks.io.mlflow_store.tracking import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


# Drawings for regression and ranking, and the canvas all drawings share.


MOST_POINTS = 5000
MOST_GROUPS = 2000


SHARES = {"left": 0.13, "right": 0.97, "bottom": 0.13, "top": 0.92}
"""Margins of a drawing of 5 x 4 inches whose axes are labelled 0.0 to 1.0."""


def canvas(
    *, width: float = 5.0, height: float = 4.0, shares: bool = False, columns: int = 1
) -> tuple[Drawing, Any]:
    """Return an empty drawing that belongs to no global state, and its axes: an array where there are several.

    Parameters
    ----------
    width, height : float
        Inches.
    shares : bool
        The axes go from 0 to 1: fixed margins fit, and no layout has to be computed, which costs as much as to draw.
    columns : int
        Number of axes side by side.
    """
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout=None if shares else "constrained")
    if shares:
        drawing.subplots_adjust(**SHARES)
    return drawing, drawing.subplots(1, columns)


def residuals(scored: Scored) -> Drawing:
    """Draw predictions against outcomes, and the spread of the residuals."""
    observed, predicted = scored.y.astype(float), scored.require("score").astype(float)
    step = max(1, len(observed) // MOST_POINTS)
    drawing, (left, right) = canvas(width=10.0, columns=2)
    left.plot(predicted[::step], observed[::step], ".", alpha=0.3)
    ends = [float(min(observed.min(), predicted.min())), float(max(observed.max(), predicted.max()))]
    left.plot(ends, ends, "--", color="gray")
    left.set(xlabel="predicted", ylabel="observed", title="Observed and predicted")
    right.hist(observed - predicted, bins=50)
    right.set(xlabel="observed minus predicted", ylabel="rows", title="Residuals")
    return drawing


def ndcg_by_group(scored: Scored) -> Drawing:
    """Draw how NDCG@3 spreads over (at most 2,000) groups."""
    groups = scored.require("group")
    metric = get_metric("ndcg_at_3", problem="ranking")
    chosen = np.unique(groups)[:MOST_GROUPS]
    values = np.array([metric(scored.take(groups == group)) for group in chosen])
    drawing, axes = canvas()
    axes.hist(values[np.isfinite(values)], bins=20)
    axes.set(xlabel="NDCG@3", ylabel="groups", title="NDCG@3 by group")
    return drawing


# Drawings for classifiers.


CALIBRATION_BINS = 10
MOST_CELLS = 12
"""Confusion matrices of more classes carry no numbers."""


def binary_drawings(scored: Scored) -> dict[str, Drawing]:
    """Return the drawings of a binary classifier by name; curves only where both classes occur."""
    drawings = {"calibration": calibration(scored), "confusion": confusion(scored)}
    if scored.truth.any() and not scored.truth.all():
        drawings |= {"roc": roc(scored), "precision_recall": precision_recall(scored)}
    return drawings


def roc(scored: Scored) -> Drawing:
    """Draw the ROC curve."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(scored.truth, scored.positive_score)
    drawing = _with_diagonal(false, true, "-")
    drawing.axes[0].set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    return drawing


def precision_recall(scored: Scored) -> Drawing:
    """Draw precision against recall, with the share of positives as the line of no skill."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(scored.truth, scored.positive_score)
    drawing, axes = canvas(shares=True)
    axes.plot(recall, precision)
    axes.axhline(float(scored.truth.mean()), linestyle="--", color="gray")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title="Precision and recall")
    return drawing


def calibration(scored: Scored) -> Drawing:
    """Draw observed shares against predicted probabilities in bins of about equal size."""
    score, truth = scored.positive_score, scored.truth.astype(float)
    parts = np.array_split(np.argsort(score, kind="stable"), min(CALIBRATION_BINS, len(score)))
    predicted, observed = ([values[part].mean() for part in parts] for values in (score, truth))
    drawing = _with_diagonal(predicted, observed, "o-")
    drawing.axes[0].set(xlabel="mean predicted probability", ylabel="observed share", title="Calibration")
    return drawing


def _with_diagonal(x: Sequence[float], y: Sequence[float], style: str) -> Drawing:
    drawing, axes = canvas(shares=True)
    axes.plot([0, 1], [0, 1], "--", color="gray")
    axes.plot(x, y, style)
    return drawing


def confusion(scored: Scored) -> Drawing:
    """Draw the confusion matrix as counts."""
    from sklearn.metrics import confusion_matrix

    labels = list(scored.classes)
    decided = np.where(scored.says_positive, *labels[::-1]) if len(labels) == 2 else scored.predicted
    table = confusion_matrix(scored.y, decided, labels=labels)
    drawing, axes = canvas()
    axes.imshow(table, cmap="Blues")
    names = [str(label) for label in labels]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="observed", title="Confusion")
    if len(labels) <= MOST_CELLS:
        for (row, column), count in np.ndenumerate(table):
            color = "white" if count > table.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
    return drawing


FOLDER = "plots"


def holdout_figures(scored: Scored, *, problem: str) -> list[Figure]:
    """Return the figures that fit a problem; none on no rows.

    Binary: ROC, precision-recall, calibration, confusion. Multiclass: confusion. Regression: predictions and
    residuals. Ranking: NDCG by group.
    """
    if len(scored) == 0:
        return []
    if problem == "binary":
        drawings = binary_drawings(scored)
    else:
        name, draw = {
            "multiclass": ("confusion", confusion),
            "regression": ("residuals", residuals),
            "ranking": ("ndcg_by_group", ndcg_by_group),
        }[problem]
        drawings = {name: draw(scored)}
    return [Figure(f"{FOLDER}/{name}.png", drawing) for name, drawing in drawings.items()]


def image_address(figure: Figure) -> str:
    """Return a figure as a ``data:`` address, which a page shows without a server."""
    picture = io.BytesIO()
    save_png(figure.figure, picture)
    figure.figure.clear()
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode('ascii')}"


def importance_figure(importances: Sequence[Importance], *, metric: str) -> Figure:
    """Return bars of the (at most 25) most important features with their spread over shuffles."""
    shown = list(importances)[:25][::-1]
    drawing, axes = canvas(height=1.5 + 0.25 * len(shown))
    axes.barh([one.feature for one in shown], [one.mean for one in shown], xerr=[one.std for one in shown])
    axes.set(xlabel=f"loss of {metric} when shuffled", title="Permutation importance (holdout)")
    return Figure(f"{FOLDER}/importance.png", drawing)


def comparison_figure(scores: dict[str, Sequence[float]], *, metric: str, chosen: str | None) -> Figure:
    """Return the fold scores of each candidate side by side, the chosen one marked."""
    drawing, axes = canvas(width=max(5.0, 2.0 + 1.2 * len(scores)))
    for place, values in enumerate(scores.values()):
        axes.plot([place] * len(values), values, "o", alpha=0.6)
        axes.plot([place - 0.2, place + 0.2], [sum(values) / len(values)] * 2, "k-")
    axes.set_xticks(range(len(scores)), [f"{name} *" if name == chosen else name for name in scores])
    axes.margins(x=0.2)
    axes.set(ylabel=metric, title="Score by fold (bar: mean, *: chosen)")
    return Figure(f"{FOLDER}/candidates.png", drawing)
