"""Decision trees in one plain form, whatever library grew them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.serving.values import BoolArray


class NotCompiled(Exception):
    """A model, or a part of one, has no faster form; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """A binary tree; its root is node 0.

    Attributes
    ----------
    feature : array, shape (nodes,)
        Feature a node asks for; -1 for a leaf.
    threshold : array, shape (nodes,)
        A value goes left when it is at most this.
    missing_left : array, shape (nodes,)
        Where NaN goes.
    left, right : array, shape (nodes,)
        Children.
    value : array, shape (nodes,)
        Answer of a leaf.
    left_categories : mapping of int to set of float
        For nodes that ask for a category: the values that go left. Other known values go right, unknown ones where NaN
        goes.
    """

    feature: IntArray
    threshold: FloatArray
    missing_left: BoolArray
    left: IntArray
    right: IntArray
    value: FloatArray
    left_categories: Mapping[int, frozenset[float]] = field(default_factory=dict)

    def leaves(self) -> tuple[list[int], dict[int, tuple[int, int]]]:
        """Return the leaves from left to right, and for each node the slice of them that lies under it."""
        order: list[int] = []
        spans: dict[int, tuple[int, int]] = {}
        stack: list[tuple[int, int | None]] = [(0, None)]
        while stack:
            node, start = stack.pop()
            if start is not None:
                spans[node] = (start, len(order))
            elif self.feature[node] < 0:
                spans[node] = (len(order), len(order) + 1)
                order.append(node)
            else:
                stack += [
                    (node, len(order)),
                    (int(self.right[node]), None),
                    (int(self.left[node]), None),
                ]
        return order, spans


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """Trees whose leaves are added up.

    Attributes
    ----------
    trees : tuple of Tree
        Tree t adds to output t modulo k.
    base : array, shape (k,)
        What the sums start from.
    categories : mapping of int to array
        Known values of the features that hold categories, ascending; all others hold numbers.
    features : int
        Number of columns.
    """

    trees: tuple[Tree, ...]
    base: FloatArray
    features: int
    categories: Mapping[int, FloatArray] = field(default_factory=dict)

    @property
    def widest(self) -> int:
        """Most leaves of a tree."""
        return max((int(np.sum(tree.feature < 0)) for tree in self.trees), default=1)
