"""Shapes and types of the answers, against what the problem calls for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tasks.core.gates.result import CheckResult, check
from tasks.core.metrics.scored import Scored
from tasks.core.verdict import Reason


def check_shapes(scored: Scored, *, problem: str) -> CheckResult:
    """Require one answer a row, of the shape and type the problem calls for.

    Parameters
    ----------
    scored : Scored
        Holdout rows with the model's answers.
    problem : str
        ``binary``, ``multiclass``, ``regression`` or ``ranking``.

    Notes
    -----
    A class among the outcomes that the model does not know is named: no answer of it can be right there.
    """
    n = len(scored.y)
    met = Reason(code="shapes_met", message=f"One answer for each of {n} rows, of the right type.", n=n)
    return check("shapes", failed=list(_problems(scored, problem=problem)), met=met)


def _problems(scored: Scored, *, problem: str) -> Iterator[Reason]:
    n, score = len(scored.y), np.asarray(scored.score)
    width = len(scored.classes)
    expected: tuple[int, ...] = (n, width) if problem == "multiclass" else (n,)
    if score.shape != expected:
        yield Reason(
            code="wrong_shape",
            message=f"The answers have shape {score.shape}, a {problem} model must give {expected}.",
            observed=str(score.shape),
            limit=str(expected),
            n=n,
        )
    if not np.issubdtype(score.dtype, np.number):
        yield Reason(
            code="wrong_type",
            message=f"The answers are of type {score.dtype}, they must be numbers.",
            observed=str(score.dtype),
            limit="number",
            n=n,
        )
    if unknown := _unknown_classes(scored, problem=problem):
        yield Reason(
            code="unknown_class",
            message=f"The holdout holds classes the model does not know: {', '.join(unknown)}.",
            observed=", ".join(unknown),
            limit=", ".join(map(str, scored.classes)),
            n=n,
        )


def _unknown_classes(scored: Scored, *, problem: str) -> list[str]:
    if problem not in {"binary", "multiclass"} or not scored.classes:
        return []
    return sorted(str(value) for value in set(np.unique(scored.y)) - set(scored.classes))
