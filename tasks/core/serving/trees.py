"""Decision trees in one plain form, whatever library grew them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.utils.extmath import softmax

from evergreen.tasks.core.arrays import Array, BoolArray, FloatArray, IntArray


class NotCompiled(Exception):
    """A model, or a part of one, has no faster form; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
    """A binary tree; its root is node 0."""

    feature: IntArray
    """Shape (nodes,): feature a node asks for; -1 for a leaf."""
    threshold: FloatArray
    """Shape (nodes,): a value goes left when it is at most this."""
    missing_left: BoolArray
    """Shape (nodes,): where NaN goes."""
    left: IntArray
    right: IntArray
    """``left``, ``right`` (shape (nodes,)): children."""
    value: FloatArray
    """Shape (nodes,): answer of a leaf."""
    left_categories: Mapping[int, frozenset[float]] = field(default_factory=dict)
    """For nodes that ask for a category: the values that go left. Other known values go right, unknown ones where
    NaN goes."""

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
                stack += [(node, len(order)), (int(self.right[node]), None), (int(self.left[node]), None)]
        return order, spans


@dataclass(frozen=True, kw_only=True, eq=False)
class Ensemble:
    """Trees whose leaves are added up."""

    trees: tuple[Tree, ...]
    """Tree t adds to output t modulo k."""
    base: FloatArray
    """Shape (k,): what the sums start from."""
    features: int
    """Number of columns."""
    categories: Mapping[int, FloatArray] = field(default_factory=dict)
    """Known values of the features that hold categories, ascending; all others hold numbers."""

    @property
    def widest(self) -> int:
        """Most leaves of a tree."""
        return max((int(np.sum(tree.feature < 0)) for tree in self.trees), default=1)


# The cells of a feature: stretches of values between which no tree of an ensemble tells a difference.


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureCells:
    """Cells of every feature, numbered through; the last one of each feature is for missing values."""

    edges: tuple[FloatArray, ...]
    """For each feature ascending edges; cell i holds the values above edge i - 1 and at most edge i."""
    first: IntArray
    """Shape (features,): number of each feature's first cell."""

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


def make_cells(ensemble: Ensemble) -> FeatureCells:
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
    return FeatureCells(edges=tuple(edges), first=np.cumsum(counts) - counts)


# How the sums of boosted trees become answers.


Link = Callable[[FloatArray], FloatArray]
_SAME = {"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"}
_EXPONENTIAL = {"poisson", "gamma", "tweedie"}


def boosting_link(model: Any, kind: str) -> Link:
    """Return the link of scikit-learn's boosting, from its own loss.

    Parameters
    ----------
    model : HistGradientBoostingClassifier or HistGradientBoostingRegressor
        Fitted.
    kind : str
        ``binary``, ``classes`` or ``number``.
    """
    if kind == "binary":
        return logistic
    loss = model._loss
    if kind == "classes":
        found: Link = loss.predict_proba
        return found
    return lambda sums: loss.link.inverse(sums[:, 0])


def lightgbm_link(dumped: Mapping[str, Any], kind: str) -> Link:
    """Return the link of a LightGBM model as ``Booster.dump_model`` describes it.

    Raises
    ------
    NotCompiled
        For an objective not known here, or one that does not answer what is asked.
    """
    name, *options = str(dumped.get("objective", "")).split()
    if kind == "binary" and name == "binary" and "sigmoid:1" in options:
        return logistic
    if kind == "classes" and name == "multiclass":
        return lambda sums: softmax(sums, copy=False)
    if kind == "number" and "sqrt" not in options and name in _SAME | _EXPONENTIAL:
        return (lambda sums: sums[:, 0]) if name in _SAME else (lambda sums: np.exp(sums[:, 0]))
    raise NotCompiled(f"LightGBM's objective '{name}' has no faster form")


def logistic(sums: FloatArray) -> FloatArray:
    """Return P(second class) for log-odds of shape (n, 1)."""
    found: FloatArray = expit(sums[:, 0])
    return found


# Boosted trees as tables of bits: which leaves each feature's value still allows, and of these the leftmost.
#
# Every cell of a feature (`evergreen.tasks.core.serving.trees`) has one row of bits, one bit a leaf of each tree:
# a node whose
# question a value of this cell answers with *right* rules out the leaves on its left. The rows of all features are
# combined by AND; the leftmost leaf that is left is the one a walk from the root would reach (QuickScorer: Lucchese et
# al., SIGIR 2015). So rows and trees are scored at once by a few array operations, without a step per level.


MOST_BYTES = 64 * 2**20
_TOGETHER = 48
_CHUNK = 512
_HASH = {32: (0x077CB531, 27), 64: (0x03F79D71B4CB0A89, 58)}


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskTables:
    """An ensemble as tables."""

    bits: Array
    """Shape (cells, trees × words): leaves that a cell allows."""
    words: int
    """Words a tree's leaves need."""
    edges: tuple[FloatArray, ...]
    """Edges of each feature's cells."""
    keys: Array
    """All edges as (feature, edge), ascending: one binary search finds the cells of all features."""
    shift: IntArray
    missing: IntArray
    """``shift``, ``missing`` (shape (features,)): from the place among the keys to the number of the cell; the cell
    of missing values."""
    leaves: FloatArray
    """Value of every leaf, where the hash of its bit says."""
    starts: IntArray
    """Shape (trees,): where each tree's first word of leaves starts."""
    base: FloatArray
    """Shape (k,): what the sums start from."""

    def sums(self, features: FloatArray) -> FloatArray:
        """Return the sums of the leaves reached, added in the trees' order, shape (n, k).

        Parameters
        ----------
        features : array, shape (n, features)
            Numbers; NaN where missing.
        """
        if len(features) <= _CHUNK:
            return self._add(self._reached(self._allowed(self._cells(features))))
        parts = [self.sums(features[i : i + _CHUNK]) for i in range(0, len(features), _CHUNK)]
        return np.concatenate(parts)

    def _cells(self, features: FloatArray) -> IntArray:
        """Return the cell of every value, shape (n, features)."""
        cells: IntArray
        if len(features) <= _TOGETHER:
            wanted = np.empty(features.shape, dtype=np.complex128)
            wanted.real = np.arange(features.shape[1])
            wanted.imag = features
            cells = self.keys.searchsorted(wanted) + self.shift
        else:
            cells = np.empty(features.shape, dtype=np.int64)
            first = self.missing - np.array([len(one) + 1 for one in self.edges])
            for at, edges in enumerate(self.edges):
                cells[:, at] = edges.searchsorted(features[:, at])
            cells += first
        absent = np.isnan(features)
        return np.where(absent, self.missing, cells) if absent.any() else cells

    def _allowed(self, cells: IntArray) -> Array:
        """Return the leaves that all features allow, shape (n, trees × words)."""
        if len(cells) <= _TOGETHER:
            allowed: Array = np.bitwise_and.reduce(self.bits[cells], axis=1)
            return allowed
        allowed = self.bits[cells[:, 0]]
        for at in range(1, cells.shape[1]):
            allowed &= self.bits[cells[:, at]]
        return allowed

    def _reached(self, allowed: Array) -> FloatArray:
        """Return the value of the leftmost leaf allowed in each tree, shape (n, trees)."""
        starts = self.starts
        if self.words > 1:
            allowed = allowed.reshape(len(allowed), -1, self.words)
            word = (allowed != 0).argmax(axis=2)
            allowed = np.take_along_axis(allowed, word[:, :, None], axis=2)[:, :, 0]
            starts = starts + word * 64
        hashed = _hash(allowed & -allowed).view(f"i{allowed.dtype.itemsize}")
        reached: FloatArray = self.leaves.take(hashed + starts)
        return reached

    def _add(self, values: FloatArray) -> FloatArray:
        """Add tree after tree, as the estimator does: the same rounding."""
        n, k = len(values), len(self.base)
        terms = np.empty((n, values.shape[1] // k + 1, k))
        terms[:, 0] = self.base
        terms[:, 1:] = values.reshape(n, -1, k)
        return np.add.accumulate(terms, axis=1)[:, -1]


def make_masks(ensemble: Ensemble, *, most_bytes: int | None = None) -> MaskTables:
    """Return the tables of an ensemble.

    Raises
    ------
    NotCompiled
        When they would need more than ``most_bytes`` (64 MB by default).
    """
    cells = make_cells(ensemble)
    wide = 32 if ensemble.widest <= 32 else 64
    words = -(-ensemble.widest // wide)
    needed = cells.count * len(ensemble.trees) * words * wide // 8
    if needed > (MOST_BYTES if most_bytes is None else most_bytes):
        raise NotCompiled(f"its tables would need {needed / 2**20:.0f} MB")
    bits = np.full((cells.count, len(ensemble.trees), words), -1, dtype=f"i{wide // 8}").view(f"u{wide // 8}")
    leaves = np.zeros((len(ensemble.trees), words, wide))
    for at in range(len(ensemble.trees)):
        _write_tree(ensemble, at, cells, bits, leaves)
    counts = np.array([len(one) for one in cells.edges], dtype=np.int64)
    keys = np.empty(int(counts.sum()), dtype=np.complex128)
    keys.real = np.repeat(np.arange(len(counts)), counts)
    keys.imag = np.concatenate(cells.edges)
    return MaskTables(
        bits=np.ascontiguousarray(bits.reshape(cells.count, -1)),
        words=words,
        edges=cells.edges,
        keys=keys,
        shift=cells.first - (np.cumsum(counts) - counts),
        missing=cells.missing,
        leaves=leaves.reshape(-1),
        starts=np.arange(len(ensemble.trees)) * (words * wide),
        base=ensemble.base,
    )


def _write_tree(ensemble: Ensemble, at: int, cells: FeatureCells, bits: Array, leaves: FloatArray) -> None:
    """Write a tree's bits and leaves."""
    tree = ensemble.trees[at]
    order, spans = tree.leaves()
    words, wide = leaves.shape[1:]
    single = np.ones(wide, dtype=bits.dtype) << np.arange(wide, dtype=bits.dtype)
    place = _hash(single)
    for i, leaf in enumerate(order):
        leaves[at, i // wide, place[i % wide]] = tree.value[leaf]
    for node in np.flatnonzero(tree.feature >= 0).tolist():
        start, end = spans[int(tree.left[node])]
        ruled_out = sum(1 << i for i in range(start, end))
        right = ~cells.left_of(tree, node)
        first = int(cells.first[tree.feature[node]])
        rows = bits[first : first + len(right), at]
        for word in range(words):
            kept = ~(ruled_out >> (word * wide)) & (2**wide - 1)
            rows[right, word] &= bits.dtype.type(kept)


def _hash(single: Array) -> Any:
    """Return a different number below the word's length for each word with a single bit (de Bruijn)."""
    factor, shift = _HASH[single.dtype.itemsize * 8]
    kind = single.dtype.type
    return (single * kind(factor)) >> kind(shift)
