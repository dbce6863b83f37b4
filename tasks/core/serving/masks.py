"""Boosted trees as tables of bits: which leaves each feature's value still allows, and of these the leftmost.

Every cell of a feature (`tasks.core.serving.cells`) has one row of bits, one bit a leaf of each tree: a node whose
question a value of this cell answers with *right* rules out the leaves on its left. The rows of all features are
combined by AND; the leftmost leaf that is left is the one a walk from the root would reach (QuickScorer: Lucchese et
al., SIGIR 2015). So rows and trees are scored at once by a few array operations, without a step per level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.core.metrics.scored import Array, FloatArray, IntArray
from tasks.core.serving.cells import Cells, make_cells
from tasks.core.serving.trees import Ensemble, NotCompiled

MOST_BYTES = 64 * 2**20
_TOGETHER = 48
_CHUNK = 512
_HASH = {32: (0x077CB531, 27), 64: (0x03F79D71B4CB0A89, 58)}


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskTables:
    """An ensemble as tables.

    Attributes
    ----------
    bits : array, shape (cells, trees × words)
        Leaves that a cell allows.
    words : int
        Words a tree's leaves need.
    edges : tuple of array
        Edges of each feature's cells.
    keys : array of complex
        All edges as (feature, edge), ascending: one binary search finds the cells of all features.
    shift, missing : array, shape (features,)
        From the place among the keys to the number of the cell; the cell of missing values.
    leaves : array
        Value of every leaf, where the hash of its bit says.
    starts : array, shape (trees,)
        Where each tree's first word of leaves starts.
    base : array, shape (k,)
        What the sums start from.
    """

    bits: Array
    words: int
    edges: tuple[FloatArray, ...]
    keys: Array
    shift: IntArray
    missing: IntArray
    leaves: FloatArray
    starts: IntArray
    base: FloatArray

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


def _write_tree(ensemble: Ensemble, at: int, cells: Cells, bits: Array, leaves: FloatArray) -> None:
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
