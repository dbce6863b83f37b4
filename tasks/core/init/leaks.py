"""Find the columns that give the target away, alone or together, and name the numbers that decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from evergreen.tasks.core.init.leak_features import LeakSearchData, Suspect, View, measure_error
from evergreen.tasks.core.init.leak_sums import Sum, find_sums
from evergreen.tasks.core.stats.auc import roc_auc

# What the target's own past gives away: a column that tells no more than that is no leak.


LAGS = (1, 2, 3)
"""Steps back that the target's own past is read at."""
INFORMATIVE = 0.5
"""A column that leaves less of the target open by its bare values does not merely name what a row is about."""


def history_error(data: LeakSearchData) -> float:
    """Return the share of the target that its own past leaves open; infinite without a clock.

    The past is the last value, or the best line through the last three, over all rows and for each column that
    may name what the row is about (a station, a customer): a lagged target is a fair feature. A column whose bare
    values tell most of the target counts as such a name only when its last value tells far more: else it may be
    the leak itself.
    """
    if not data.timed:
        return float("inf")
    least = _lagged_error(np.zeros(len(data.y), dtype=np.int64), data)
    for view in data.entities:
        bare, lagged = measure_error(view, data), _lagged_error(view.values.astype(np.int64), data)
        if bare >= INFORMATIVE or lagged <= bare / 2:
            least = min(least, lagged)
    return least


def lag(y: np.ndarray, owner: np.ndarray, *, steps: int) -> np.ndarray:
    """Return the value ``steps`` rows earlier of the same owner, nan where there is none; shape (n,).

    >>> lag(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0]), steps=1)
    array([nan, nan,  1.])
    """
    order = np.argsort(owner, kind="stable")
    past = np.full(len(y), np.nan)
    same = owner[order][steps:] == owner[order][:-steps]
    past[order[steps:][same]] = y[order[:-steps][same]]
    return past


def _lagged_error(owner: np.ndarray, data: LeakSearchData) -> float:
    lags = np.column_stack([lag(data.y, owner, steps=steps) for steps in LAGS])
    views = [View(columns=(), values=lags[:, 0])]
    whole = np.isfinite(lags).all(axis=1)
    if data.problem in ("regression", "ranking") and whole.sum() > 100:
        design = np.column_stack([np.ones(whole.sum()), lags[whole]])
        line = np.full(len(data.y), np.nan)
        line[whole] = design @ np.linalg.lstsq(design, data.y[whole], rcond=None)[0]
        views.append(View(columns=(), values=line))
    errors = [measure_error(view, data) for view in views]
    return min((error for error in errors if np.isfinite(error)), default=float("inf"))


# Leaks that are no copy of the target: a coarser target, cells filled only for one outcome, a leak's companion.


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


def find_patterns(data: LeakSearchData) -> list[Suspect]:
    """Return columns that the target determines, and columns filled (or not zero) for one class alone."""
    suspects = []
    for view in data.views:
        if len(view.columns) == 1:
            suspect = _filled(view, data) or _bucket(view, data)
            suspects += [suspect] if suspect else []
    return suspects


def find_companions(data: LeakSearchData, accused: Sequence[str]) -> list[Suspect]:
    """Return columns that tell in which rows an accused column is empty: they are known no earlier."""
    single = [view for view in data.views if len(view.columns) == 1]
    nulls = {view.columns[0]: ~view.filled for view in single if view.columns[0] in accused}
    suspects = []
    for view in single:
        if view.columns[0] in accused or (levels := _levels(view)) is None:
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


def _bucket(view: View, data: LeakSearchData) -> Suspect | None:
    """Return a suspect when the target determines the column's value: the column is the target made coarser."""
    if data.problem == "binary":
        return None
    levels = _levels(view)
    if levels is None and FEWEST <= (~view.filled).sum() <= len(view.filled) - FEWEST:
        levels = view.filled.astype(np.int64)
    fits = _named_by_class if data.problem == "multiclass" else _cut_by_value
    if levels is None or not fits(levels, data):
        return None
    why = f"is the target made coarser: the target's value alone tells which of {levels.max() + 1} values it has"
    return Suspect(column=view.columns[0], kind="bucket", why=why, share=1.0)


def _named_by_class(levels: np.ndarray, data: LeakSearchData) -> bool:
    """Return whether each class has one level of the column, and the levels differ between classes."""
    classes = data.y.astype(np.int64)
    table = np.zeros((classes.max() + 1, levels.max() + 1))
    np.add.at(table, (classes, levels), 1)
    rest = len(levels) - table.sum(axis=0).max()
    return bool(rest >= FEWEST and len(levels) - table.max(axis=1).sum() <= 2 * ERROR * rest)


def _cut_by_value(levels: np.ndarray, data: LeakSearchData) -> bool:
    """Return whether the target's order separates every level from the next; a lone value such as 0 is no cut."""
    means = np.bincount(levels, weights=data.y) / np.bincount(levels)
    ranked = np.argsort(np.argsort(means))[levels]
    judged = 0
    for cut in range(1, ranked.max() + 1):
        above = ranked >= cut
        if min(above.sum(), (~above).sum()) < FEWEST:
            continue
        judged += 1
        if roc_auc(above, data.y) < 1 - ERROR / 2 or _is_atom(data, above):
            return False
    return judged > 0


def _is_atom(data: LeakSearchData, above: np.ndarray) -> bool:
    """Return whether a side holds a single value of a continuous target: closed days sell 0, known beforehand."""
    if data.problem == "ranking" or len(np.unique(data.y)) <= LEVELS:
        return False
    return any(np.ptp(data.y[side]) == 0 for side in (above, ~above))


def _filled(view: View, data: LeakSearchData) -> Suspect | None:
    if data.problem not in ("binary", "multiclass"):
        return _filled_at_one_end(view, data)
    filled, name = view.filled, view.columns[0]
    sides = [(filled, "filled", 0.99, FEWEST, 0.05), (~filled, "empty", 0.99, FEWEST, 0.05)]
    if not view.categorical and filled.any():
        values, counts = np.unique(view.values[filled], return_counts=True)
        if counts.max() >= 0.3 * len(filled):
            usual = values[counts.argmax()]
            sides.append((filled & (view.values != usual), f"other than {usual:g}", 0.998, 100, 0.3))
    for mask, word, pure, fewest, least in sides:
        if (purity := _pure(mask, data.y, pure=pure, fewest=fewest, least=least)) is not None:
            why = f"is {word} in {mask.sum()} rows, {purity:.1%} of them of one class: known only after the outcome"
            return Suspect(column=name, kind="filled", why=why, share=purity)
    return None


def _filled_at_one_end(view: View, data: LeakSearchData) -> Suspect | None:
    """Return a suspect when cells are filled (or empty) at one end of the target's range alone."""
    for mask, word in ((view.filled, "filled"), (~view.filled, "empty")):
        if not FEWEST <= mask.sum() <= len(mask) / 2 or _is_atom(data, mask):
            continue
        low, high = np.quantile(data.y[mask], [0.01, 0.99])
        share = float(min(np.mean(data.y >= low), np.mean(data.y <= high)))
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


GIVEN_AWAY = 0.025
"""A column that leaves at most this share of the target open gives it away."""
DOUBTFUL = 0.06
"""A column that leaves this share open, while no other comes near, is worth a look."""
LONELY = 6.0
"""'No other comes near': the next best leaves this many times more open."""
BEYOND_HISTORY = 4.0
"""A column must leave open this many times less than the target's own past, else it may be a lagged target."""


def find_leaks(data: LeakSearchData) -> tuple[Suspect, ...]:
    """Return every column that gives the target away, the certain ones first, at most once each.

    Each test looks at values, ranks and empty cells only, so that renamed, shuffled or rescaled columns are found
    just as well: a column alone (`copy`, or `order` within a group), the target made coarser (`bucket`), cells
    filled for one outcome alone (`filled`), plain sums of columns (`sum`), and columns that say where a leak is
    empty (`companion`). A strong feature is not a leak: a timed column must say far more than the target's own
    past does, and one alone at least 97.5 % of what there is to know.
    """
    errors = [(measure_error(view, data), view) for view in data.views]
    strong = [(error, view) for error, view in errors if error <= DOUBTFUL]
    past = history_error(data) if strong or len(data.views) > 1 else float("inf")
    limit = min(GIVEN_AWAY, past / BEYOND_HISTORY)
    suspects = [one for parts in find_sums(data, limit=limit) for one in _together(parts, data)]
    alone = [(error, view) for error, view in strong if error <= limit]
    suspects += [_alone(error, view, column, data) for error, view in alone for column in view.columns]
    suspects += find_patterns(data)
    suspects += find_companions(data, [s.column for s in suspects])
    suspects += _doubtful(errors, {s.column for s in suspects}, past, data)
    first: dict[str, Suspect] = {}
    for suspect in sorted(suspects, key=lambda one: not one.certain):
        first.setdefault(suspect.column, suspect)
    return tuple(first.values())


def _alone(error: float, view: View, column: str, data: LeakSearchData) -> Suspect:
    kind = "order" if data.problem == "ranking" else "copy"
    others = tuple(c for c in view.columns if c != column)
    why = _sentence("alone" if view.text == column else f"by '{view.text}'", error, data)
    return Suspect(column=column, kind=kind, why=why, share=1 - error, others=others)


def _sentence(subject: str, error: float, data: LeakSearchData) -> str:
    if data.problem == "ranking":
        return f"{subject} orders {1 - error / 2:.1%} of pairs within a group as the target does"
    measure = {
        "binary": f"AUC {1 - error / 2:.4f}",
        "multiclass": f"{error:.1%} of the errors of the majority are left",
        "regression": f"{1 - error:.2%} of its ranks explained",
    }[data.problem]
    return f"{subject} gives the target away: {measure}"


def _together(parts: Sum, data: LeakSearchData) -> list[Suspect]:
    verb = "order the target" if data.problem == "ranking" else "give the target away"
    why = f"'{parts.formula}' together {verb}: {parts.open:.2%} is left open"
    share, others = 1 - parts.open, {c: tuple(o for o in parts.columns if o != c) for c in parts.columns}
    return [Suspect(column=c, kind="sum", why=why, share=share, others=rest) for c, rest in others.items()]


def _doubtful(
    errors: list[tuple[float, View]], accused: set[str], past: float, data: LeakSearchData
) -> Iterable[Suspect]:
    """Return a lone, far too good column that falls short of certainty."""
    rest = [(e, view) for e, view in errors if np.isfinite(e) and not accused.intersection(view.columns)]
    rest.sort(key=lambda pair: pair[0])
    if len(rest) < 2:
        return []
    (error, view), (second, _) = rest[0], rest[1]
    if error > min(DOUBTFUL, past / BEYOND_HISTORY) or second < LONELY * error:
        return []
    why = _sentence("alone", error, data) + ", and no other column comes near"
    return [Suspect(column=c, kind="copy", why=why, share=1 - error, certain=False) for c in view.columns]
