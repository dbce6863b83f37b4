"""Do labels arrive as usual."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.health.report import Check, Condition, check

_NEWEST = 5
_EARLIER = 10
_FAILED, _WARNING = 0.5, 0.8


def judge_labels(windows: Sequence[tuple[int, int]], *, min_rows: int) -> Check:
    """Judge the share of rows, old enough for a label, that have one.

    The newest five windows against all earlier ones given: less than 0.8 of the usual share warns, less than half
    fails. Without ten earlier windows only the lack of any label fails. Of 100 rows with independent labels and a
    usual share of 0.9 fewer than 72 have one by chance less than once in a million looks.

    Parameters
    ----------
    windows : sequence of (rows, labelled)
        Windows whose labels were due, newest last.
    min_rows : int
        With fewer rows in the newest five it does not apply.
    """
    newest, earlier = windows[-_NEWEST:], windows[:-_NEWEST]
    rows, labelled = (sum(column) for column in zip(*newest, strict=True)) if newest else (0, 0)
    if rows < min_rows:
        return _no(f"{rows} rows are old enough for a label, {min_rows} are needed", n=rows)
    share = labelled / rows
    if len([1 for total, _ in earlier if total]) < _EARLIER:
        if labelled:
            return _no(f"{_EARLIER} earlier windows are needed to know what is usual", n=rows)
        return check("labels", Condition.FAILED, f"None of {rows} rows has a label.", observed=0.0, n=rows)
    usual = sum(known for _, known in earlier) / sum(total for total, _ in earlier)
    said = f"{share:.1%} of {rows} rows have a label; usual are {usual:.1%}."
    limits = {Condition.FAILED: _FAILED * usual, Condition.WARNING: _WARNING * usual}
    for condition, limit in limits.items():
        if share < limit:
            return check("labels", condition, said, observed=share, limit=limit, n=rows)
    return check("labels", Condition.OK, said, observed=share, limit=limits[Condition.WARNING], n=rows)


def _no(why: str, *, n: int) -> Check:
    return check("labels", Condition.NOT_APPLICABLE, f"Not judged: {why}.", n=n)
