"""The cells of a feature: stretches of values between which no tree of an ensemble tells a difference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.serving.trees import Ensemble, Tree
from tasks.core.serving.values import BoolArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Cells of every feature, numbered through; the last one of each feature is for missing values.

    Attributes
    ----------
    edges : tuple of array
        For each feature ascending edges; cell i holds the values above edge i - 1 and at most edge i.
    first : array, shape (features,)
        Number of each feature's first cell.
    """

    edges: tuple[FloatArray, ...]
    first: IntArray

    @property
    def count(self) -> int:
        """Number of all cells."""
        return int(sum(len(one) + 2 for one in self.edges))

    @property
    def missing(self) -> IntArray:
        """Cell of each feature's missing values."""
        return self.first + np.array([len(one) + 1 for one in self.edges], dtype=np.int64)

    def left_of(self, tree: Tree, node: int) -> BoolArray:
        """Tell for each cell of the feature a node asks for whether its values go left."""
        edges = self.edges[int(tree.feature[node])]
        left = np.empty(len(edges) + 2, dtype=bool)
        left[-1] = tree.missing_left[node]
        if node not in tree.left_categories:
            left[:-1] = np.arange(len(edges) + 1) <= int(np.searchsorted(edges, tree.threshold[node]))
            return left
        left[:-1] = tree.missing_left[node]
        left[1:-1:2] = [value in tree.left_categories[node] for value in edges[1::2].tolist()]
        return left


def make_cells(ensemble: Ensemble) -> Cells:
    """Return the cells of an ensemble.

    The edges of numbers are the thresholds. A category's edges are its value and the float just below it, so that
    every second cell holds exactly one known value, and the cells between hold unknown ones.
    """
    found: list[list[FloatArray]] = [[] for _ in range(ensemble.features)]
    for tree in ensemble.trees:
        asks = np.flatnonzero(tree.feature >= 0)
        for at in np.unique(tree.feature[asks]).tolist():
            found[at].append(tree.threshold[asks[tree.feature[asks] == at]])
    edges = []
    for at, thresholds in enumerate(found):
        if at in ensemble.categories:
            values = ensemble.categories[at]
            edges.append(np.column_stack([np.nextafter(values, -np.inf), values]).reshape(-1))
        else:
            edges.append(np.unique(np.concatenate(thresholds)) if thresholds else np.empty(0))
    counts = np.array([len(one) + 2 for one in edges], dtype=np.int64)
    return Cells(edges=tuple(edges), first=np.cumsum(counts) - counts)
