"""Ensembles: several versions answer together, by the weighted mean of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.training.scoring import decide_labels


def agreed_classes(classes: Mapping[int, tuple[Any, ...]], *, name: str) -> tuple[Any, ...]:
    """Return the classes all members know, in one order.

    Parameters
    ----------
    classes : mapping of int to tuple
        Classes of each version; empty tuples where there are none (regression, ranking).
    name : str
        The variant, for messages.

    Raises
    ------
    InputError
        When two members differ in classes or their order: columns of probabilities could not be averaged.
    """
    distinct = set(classes.values())
    if len(distinct) != 1:
        named = "; ".join(f"version {version}: {list(known)}" for version, known in sorted(classes.items()))
        raise InputError(
            f"Members of '{name}' answer with different classes ({named}). Allowed: the same in the same order; "
            "leave the one that differs out."
        )
    return next(iter(distinct))


def blend_scores(scores: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Return the weighted mean of the members' scores.

    Parameters
    ----------
    scores : sequence of arrays, each (n,) or (n, k)
        What each member says of the same rows: P(positive), probabilities, or predictions.
    weights : sequence of float
        Add up to 1.

    Raises
    ------
    InputError
        When shapes or numbers of members differ.

    >>> blend_scores([np.array([0.2, 1.0]), np.array([0.6, 0.0])], [0.75, 0.25])
    array([0.3 , 0.75])
    """
    shapes = {score.shape for score in scores}
    if len(shapes) != 1 or len(scores) != len(weights):
        raise InputError(
            f"{len(scores)} members with {len(weights)} weights answer in the shapes {sorted(shapes)}. "
            "Allowed: one weight each, and one shape."
        )
    mean = np.zeros(scores[0].shape, dtype=np.float64)
    for score, weight in zip(scores, weights, strict=True):
        mean += weight * score
    return mean


def blend_decisions(scores: FloatArray, *, classes: tuple[Any, ...], threshold: float) -> list[Any]:
    """Decide an ensemble's rows: by the champion's threshold, the likeliest class, or the number itself.

    An ensemble was never given a threshold of its own: it decides by the champion's, so that arms differ in their
    scores alone.
    """
    labels = decide_labels(scores, classes=classes, threshold=threshold)
    return list((scores if labels is None else labels).tolist())
