"""Leaks that are no copy of the target: a coarser target, cells filled only for one outcome, a leak's companion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.core.leaks.material import Material, Suspect, View
from tasks.core.leaks.strength import auc

LEVELS = 20
"""Most distinct values of a column that may be a coarser target."""
FEWEST = 30
"""Fewer rows on one side prove nothing."""
ERROR = 0.01
"""Share a coarser target may be wrong in."""
EVIDENCE = 25.0
"""Log odds (nats) against chance that cells filled for one class alone must reach: about 1e-11."""

TAIL = 0.25
"""Share of rows in the end of a numeric target's range that cells may be bound to."""


def find_patterns(material: Material) -> list[Suspect]:
    """Return columns that the target determines, and columns filled (or not zero) for one class alone."""
    suspects = []
    for view in material.views:
        if len(view.columns) == 1:
            found = _filled(view, material) or _bucket(view, material)
            suspects += [found] if found else []
    return suspects


def find_companions(material: Material, accused: Sequence[str]) -> list[Suspect]:
    """Return columns that tell in which rows an accused column is empty: they are known no earlier."""
    nulls = {
        v.columns[0]: ~v.filled for v in material.views if v.columns[0] in accused and len(v.columns) == 1
    }
    suspects = []
    for view in material.views:
        if view.columns[0] in accused or len(view.columns) > 1 or (levels := _levels(view)) is None:
            continue
        for leak, null in nulls.items():
            fewer = min(int(null.sum()), int((~null).sum()))
            if fewer >= FEWEST and _wrong(levels, null) <= 0.1 * fewer:
                why = f"tells in which rows '{leak}' is empty, so it is known no earlier than that leak"
                suspects.append(Suspect(column=view.columns[0], kind="companion", why=why, share=0.0))
                break
    return suspects


def _levels(view: View) -> np.ndarray | None:
    """Return codes of a column of few values, null a value of its own; None where it has many."""
    values = np.where(view.filled, view.values, np.inf)
    distinct, codes = np.unique(values, return_inverse=True)
    return codes if 2 <= len(distinct) <= LEVELS else None


def _wrong(levels: np.ndarray, wanted: np.ndarray) -> float:
    """Return how many rows the best guess of ``wanted`` by level gets wrong."""
    yes = np.bincount(levels, weights=wanted)
    return float(np.minimum(yes, np.bincount(levels) - yes).sum())


def _bucket(view: View, material: Material) -> Suspect | None:
    """Return a suspect when the target says the column's value, that is, the column is the target made coarser."""
    if material.problem == "binary":
        return None
    levels = _levels(view)
    if levels is None:
        if not FEWEST <= (~view.filled).sum() <= len(view.filled) - FEWEST:
            return None
        levels = view.filled.astype(np.int64)
    fits = _named_by_class if material.problem == "multiclass" else _cut_by_value
    if not fits(levels, material):
        return None
    why = f"is the target made coarser: the target's value alone tells which of {levels.max() + 1} values it has"
    return Suspect(column=view.columns[0], kind="bucket", why=why, share=1.0)


def _named_by_class(levels: np.ndarray, material: Material) -> bool:
    """Return whether each class has one level of the column, and the levels differ between classes."""
    classes = material.y.astype(np.int64)
    table = np.zeros((classes.max() + 1, levels.max() + 1))
    np.add.at(table, (classes, levels), 1)
    rest = len(levels) - table.sum(axis=0).max()
    return bool(rest >= FEWEST and len(levels) - table.max(axis=1).sum() <= 2 * ERROR * rest)


def _cut_by_value(levels: np.ndarray, material: Material) -> bool:
    """Return whether the target's order separates every level from the next; a lone value such as 0 is no cut."""
    means = np.bincount(levels, weights=material.y) / np.bincount(levels)
    ranked = np.argsort(np.argsort(means))[levels]
    judged = 0
    for cut in range(1, ranked.max() + 1):
        above = ranked >= cut
        if min(above.sum(), (~above).sum()) < FEWEST:
            continue
        judged += 1
        if auc(material.y, above) < 1 - ERROR / 2 or _is_atom(material, above):
            return False
    return judged > 0


def _is_atom(material: Material, above: np.ndarray) -> bool:
    """Return whether a side holds a single value of a continuous target: closed days sell 0, known beforehand."""
    if material.problem == "ranking" or len(np.unique(material.y)) <= LEVELS:
        return False
    return any(np.ptp(material.y[side]) == 0 for side in (above, ~above))


def _filled(view: View, material: Material) -> Suspect | None:
    if material.problem not in ("binary", "multiclass"):
        return _filled_at_one_end(view, material)
    filled, name = view.filled, view.columns[0]
    sides = [(filled, "filled", 0.99, FEWEST, 0.05), (~filled, "empty", 0.99, FEWEST, 0.05)]
    if not view.categorical and filled.any():
        values, counts = np.unique(view.values[filled], return_counts=True)
        if counts.max() >= 0.3 * len(filled):
            usual = values[counts.argmax()]
            sides.append((filled & (view.values != usual), f"other than {usual:g}", 0.998, 100, 0.3))
    for mask, word, pure, fewest, least in sides:
        if (found := _pure(mask, material.y, pure=pure, fewest=fewest, least=least)) is not None:
            why = f"is {word} in {mask.sum()} rows, {found:.1%} of them of one class: known only after the outcome"
            return Suspect(column=name, kind="filled", why=why, share=found)
    return None


def _filled_at_one_end(view: View, material: Material) -> Suspect | None:
    """Return a suspect when cells are filled (or empty) at one end of the target's range alone."""
    for mask, word in ((view.filled, "filled"), (~view.filled, "empty")):
        if not FEWEST <= mask.sum() <= len(mask) / 2 or _is_atom(material, mask):
            continue
        low, high = np.quantile(material.y[mask], [0.01, 0.99])
        share = float(min(np.mean(material.y >= low), np.mean(material.y <= high)))
        if share <= TAIL:
            why = f"is {word} in {mask.sum()} rows, nearly all at one end of the target: known only after the outcome"
            return Suspect(column=view.columns[0], kind="filled", why=why, share=1 - share)
    return None


def _pure(mask: np.ndarray, y: np.ndarray, *, pure: float, fewest: int, least: float) -> float | None:
    """Return the share of one class among the masked rows when chance cannot explain it, else None."""
    n = int(mask.sum())
    if not fewest <= n <= len(y) - fewest:
        return None
    inside = np.bincount(y[mask].astype(np.int64))
    usual = int(inside.argmax())
    purity, base = inside[usual] / n, float(np.mean(y == usual))
    recall = inside[usual] / (base * len(y))
    surprising = base <= 0.9 and -n * np.log(base) >= EVIDENCE
    return float(purity) if purity >= pure and recall >= least and surprising else None
