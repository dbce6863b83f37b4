"""Find the columns that give the target away, alone or together, and say by which numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tasks.core.leaks.history import history_error
from tasks.core.leaks.material import Material, Suspect, View
from tasks.core.leaks.patterns import find_companions, find_patterns
from tasks.core.leaks.strength import measure_error
from tasks.core.leaks.sums import Sum, find_sums

GIVEN_AWAY = 0.025
"""A column that leaves at most this share of the target open gives it away."""
DOUBTFUL = 0.06
"""A column that leaves this share open, while no other comes near, is worth a look."""
LONELY = 6.0
"""'No other comes near': the next best leaves this many times more open."""
BEYOND_HISTORY = 4.0
"""A column must leave open this many times less than the target's own past, else it may be a lagged target."""


def find_leaks(material: Material) -> tuple[Suspect, ...]:
    """Return every column that gives the target away, the certain ones first, at most once each.

    Each test looks at values, ranks and empty cells only, so that renamed, shuffled or rescaled columns are found
    just as well: a column alone (`copy`, or `order` within a group), the target made coarser (`bucket`), cells
    filled for one outcome alone (`filled`), plain sums of columns (`sum`), and columns that say where a leak is
    empty (`companion`). A strong feature is not a leak: a timed column must say far more than the target's own
    past does, and one alone at least 97.5 % of what there is to know.
    """
    errors = [(measure_error(view, material), view) for view in material.views]
    strong = [(error, view) for error, view in errors if error <= DOUBTFUL]
    past = history_error(material) if strong or len(material.views) > 1 else float("inf")
    limit = min(GIVEN_AWAY, past / BEYOND_HISTORY)
    suspects = [s for found in find_sums(material, limit=limit) for s in _together(found, material)]
    alone = [(error, view) for error, view in strong if error <= limit]
    suspects += [_alone(error, view, column, material) for error, view in alone for column in view.columns]
    suspects += find_patterns(material)
    suspects += find_companions(material, [s.column for s in suspects])
    suspects += _doubtful(errors, {s.column for s in suspects}, past, material)
    return _once(suspects)


def _alone(error: float, view: View, column: str, material: Material) -> Suspect:
    kind = "order" if material.problem == "ranking" else "copy"
    others = tuple(c for c in view.columns if c != column)
    subject = "alone" if view.text == column else f"by '{view.text}'"
    return Suspect(
        column=column, kind=kind, why=_sentence(subject, error, material), share=1 - error, others=others
    )


def _sentence(subject: str, error: float, material: Material) -> str:
    if material.problem == "binary":
        return f"{subject} gives the target away: AUC {1 - error / 2:.4f}"
    if material.problem == "multiclass":
        return f"{subject} gives the target away: {error:.1%} of the errors of the majority are left"
    if material.problem == "ranking":
        return f"{subject} orders {1 - error / 2:.1%} of pairs within a group as the target does"
    return f"{subject} gives the target away: {1 - error:.2%} of its ranks explained"


def _together(found: Sum, material: Material) -> list[Suspect]:
    verb = "order the target" if material.problem == "ranking" else "give the target away"
    why = f"'{found.formula}' together {verb}: {found.open:.2%} is left open"
    return [
        Suspect(
            column=c,
            kind="sum",
            why=why,
            share=1 - found.open,
            others=tuple(o for o in found.columns if o != c),
        )
        for c in found.columns
    ]


def _doubtful(
    errors: list[tuple[float, View]], accused: set[str], past: float, material: Material
) -> Iterable[Suspect]:
    """Return a lone, far too good column that falls short of certainty."""
    rest = sorted(
        ((e, v) for e, v in errors if np.isfinite(e) and not accused.intersection(v.columns)),
        key=lambda pair: pair[0],
    )
    if len(rest) < 2:
        return []
    (error, view), (second, _) = rest[0], rest[1]
    if error > min(DOUBTFUL, past / BEYOND_HISTORY) or second < LONELY * error:
        return []
    why = _sentence("alone", error, material) + ", and no other column comes near"
    return [Suspect(column=c, kind="copy", why=why, share=1 - error, certain=False) for c in view.columns]


def _once(suspects: list[Suspect]) -> tuple[Suspect, ...]:
    first: dict[str, Suspect] = {}
    for suspect in sorted(suspects, key=lambda s: not s.certain):
        first.setdefault(suspect.column, suspect)
    return tuple(first.values())
