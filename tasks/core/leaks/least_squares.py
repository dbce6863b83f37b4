"""Least squares of every pair and triple of columns from one table of correlations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

OPEN = 5e-4
"""Share of variance that two or three columns with any factors may leave open."""
OPEN_UNIT = 5e-3
"""The same for columns that are simply added or subtracted."""
ESSENTIAL = 5.0
"""Leaving out any part must leave open this many times more."""
EXACT = 1e-6
"""Less than this left open is rounding."""
MOST_PARTS = 12
"""Parts of the longest sum that is looked for."""
SHORTLIST = 40
"""Sets of each size that are looked at closely."""


@dataclass(frozen=True)
class Table:
    """Correlations of standardised columns with each other and the target: any small least squares is a lookup."""

    gram: np.ndarray
    link: np.ndarray
    sd: np.ndarray
    z: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, wanted: np.ndarray) -> Table:
        """Build the table from columns (n, p) and a target (n,) or one column per class (n, k)."""
        sd = values.std(axis=0)
        z = (values - values.mean(axis=0)) / np.where(sd > 0, sd, 1.0)
        target = (wanted - wanted.mean(axis=0)) / max(float(np.sqrt(np.var(wanted, axis=0).sum())), 1e-300)
        return cls(z.T @ z / len(z), z.T @ target / len(z), sd, z)

    def factors(self, chosen: tuple[int, ...]) -> np.ndarray:
        """Return standardised least-squares factors, shape (chosen,) or (chosen, classes)."""
        part = self.gram[np.ix_(chosen, chosen)]
        return np.linalg.lstsq(part, self.link[list(chosen)], rcond=1e-12)[0]

    def open(self, chosen: tuple[int, ...]) -> float:
        """Return the share of the target's variance that the chosen columns leave open."""
        if not chosen:
            return 1.0
        return max(0.0, 1.0 - float(np.sum(self.factors(chosen) * self.link[list(chosen)])))

    def fit(self, chosen: tuple[int, ...]) -> np.ndarray:
        """Return fitted values, shape (n,)."""
        return self.z[:, list(chosen)] @ self.factors(chosen)

    def best(self, size: int) -> list[tuple[int, ...]]:
        """Return the sets of ``size`` columns that leave the least open, best first."""
        p = len(self.gram)
        if p < size:
            return []
        if size == 2:
            pairs = self._pairs(np.arange(p), self.gram, self.link)
            return [s for _, s in sorted(pairs)[:SHORTLIST]]
        triples = {}
        for first in range(p):
            rest = np.array([i for i in range(p) if i != first])
            away = self.gram[rest, first]
            left = self.gram[np.ix_(rest, rest)] - np.outer(away, away)
            link = self.link[rest] - np.multiply.outer(away, self.link[first])
            base = float(np.sum(np.square(self.link[first])))
            for gained, pair in sorted(self._pairs(rest, left, link))[:SHORTLIST]:
                triples[tuple(sorted((first, *pair)))] = gained - base
        return sorted(triples, key=lambda s: triples[s])[:SHORTLIST]

    @staticmethod
    def _pairs(names: np.ndarray, gram: np.ndarray, link: np.ndarray) -> list[tuple[float, tuple[int, ...]]]:
        """Return (minus the explained variance, pair) of the most telling pairs, by the closed form of two columns."""
        own = np.diag(gram)
        cross = link @ link.T if link.ndim > 1 else np.outer(link, link)
        square = np.diag(cross)
        top = np.outer(own, np.ones_like(own)) * square[None, :] + np.outer(square, own) - 2 * gram * cross
        below = np.outer(own, own) - gram**2
        usable = np.triu(below > 1e-9, 1) & (np.minimum.outer(own, own) > 1e-9)
        gain = np.where(usable, top / np.where(usable, below, 1.0), -np.inf)
        flat = np.argsort(-gain, axis=None)[:SHORTLIST]
        rows, columns = np.unravel_index(flat, gain.shape)
        fit = [(i, j) for i, j in zip(rows, columns, strict=True) if np.isfinite(gain[i, j])]
        return [(-float(gain[i, j]), (int(names[i]), int(names[j]))) for i, j in fit]

    def is_unit(self, chosen: tuple[int, ...], *, within: float = 0.03) -> bool:
        """Return whether the columns are simply added or subtracted: equal factors in their own units."""
        raw = np.abs(self.factors(chosen) / self.sd[list(chosen)])
        return bool(raw.min() >= (1 - within) * raw.max() > 0)

    def is_sum(self, chosen: tuple[int, ...]) -> bool:
        """Return whether the columns give the target away and each of them is needed."""
        left = self.open(chosen)
        if left > (OPEN_UNIT if self.is_unit(chosen) else OPEN):
            return False
        return all(
            self.open(sub) >= ESSENTIAL * max(left, 1e-9) for sub in combinations(chosen, len(chosen) - 1)
        )

    def grow(self, chosen: tuple[int, ...]) -> tuple[int, ...]:
        """Return a plain sum with the smaller parts it lacks: each must close most of what is still open."""
        while (left := self.open(chosen)) > EXACT and len(chosen) < MOST_PARTS:
            wider = [(*chosen, i) for i in range(len(self.gram)) if i not in chosen]
            best = min(wider, key=self.open, default=chosen)
            if self.open(best) * ESSENTIAL > left or not self.is_unit(best):
                break
            chosen = best
        return chosen

    def many_parts(self) -> list[tuple[int, ...]]:
        """Return the set of four to twelve columns whose plain sum is the target exactly, if there is one."""
        everything = tuple(range(len(self.gram)))
        if len(self.z) < 10 * len(everything) or self.open(everything) > EXACT:
            return []
        raw = self.factors(everything) / self.sd
        weight = np.abs(self.factors(everything))
        parts = tuple(
            int(i)
            for i in np.flatnonzero(
                (weight > 1e-4) & (np.abs(raw) > 0.01 * np.median(np.abs(raw[weight > 1e-4])))
            )
        )
        exact = (
            4 <= len(parts) <= MOST_PARTS and self.is_unit(parts, within=0.01) and self.open(parts) <= 1e-4
        )
        return [parts] if exact else []
