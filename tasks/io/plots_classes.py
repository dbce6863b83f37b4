"""Drawings for classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.core.metrics.scored import Scored
from tasks.io.plots_numbers import canvas, canvas_of_shares

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATION_BINS = 10
MOST_CELLS = 12
"""Confusion matrices of more classes carry no numbers."""


def binary_drawings(scored: Scored) -> dict[str, Figure]:
    """Return the drawings of a binary classifier by name; curves only where both classes occur."""
    found = {"calibration": calibration(scored), "confusion": confusion(scored)}
    if scored.truth.any() and not scored.truth.all():
        found |= {"roc": roc(scored), "precision_recall": precision_recall(scored)}
    return found


def roc(scored: Scored) -> Figure:
    """Draw the ROC curve."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(scored.truth, scored.positive_score)
    drawing = canvas_of_shares()
    axes = drawing.subplots()
    axes.plot(false, true)
    axes.plot([0, 1], [0, 1], "--", color="gray")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    return drawing


def precision_recall(scored: Scored) -> Figure:
    """Draw precision against recall, with the share of positives as the line of no skill."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, _ = precision_recall_curve(scored.truth, scored.positive_score)
    drawing = canvas_of_shares()
    axes = drawing.subplots()
    axes.plot(recall, precision)
    axes.axhline(float(scored.truth.mean()), linestyle="--", color="gray")
    axes.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02), title="Precision and recall")
    return drawing


def calibration(scored: Scored) -> Figure:
    """Draw observed shares against predicted probabilities in bins of about equal size."""
    score, truth = scored.positive_score, scored.truth.astype(float)
    parts = np.array_split(np.argsort(score, kind="stable"), min(CALIBRATION_BINS, len(score)))
    drawing = canvas_of_shares()
    axes = drawing.subplots()
    axes.plot([0, 1], [0, 1], "--", color="gray")
    axes.plot([score[part].mean() for part in parts], [truth[part].mean() for part in parts], "o-")
    axes.set(xlabel="mean predicted probability", ylabel="observed share", title="Calibration")
    return drawing


def confusion(scored: Scored) -> Figure:
    """Draw the confusion matrix as counts."""
    from sklearn.metrics import confusion_matrix

    labels = list(scored.classes)
    decided = np.where(scored.says_positive, *labels[::-1]) if len(labels) == 2 else scored.predicted
    table = confusion_matrix(scored.y, decided, labels=labels)
    drawing = canvas()
    axes = drawing.subplots()
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
