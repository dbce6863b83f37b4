"""Does the machinery work: champion, servers, disk, model age, and monitoring itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from tasks.core.health.report import Check, Condition, check, duration

_RUNS = 3


def judge_champion(version: int | None, *, rows: int, trouble: str | None) -> Check:
    """Judge whether the champion resolves, loads and predicts.

    Parameters
    ----------
    version : int or None
        What ``@champion`` points at.
    rows : int
        Rows it was asked for.
    trouble : str or None
        What went wrong when it was loaded or asked; None: nothing.
    """
    if version is None:
        message = "There is no champion. Train, validate and challenge, or promote a version by hand."
        return check("champion", Condition.FAILED, message)
    if trouble is not None:
        message = (
            f"Version {version} does not answer: {trouble}. 'evergreen rollback' returns to the fallback."
        )
        return check("champion", Condition.FAILED, message, observed=float(version), n=rows)
    message = f"Version {version} loads and answers."
    return check("champion", Condition.OK, message, observed=float(version), n=rows)


def judge_servers(answers: Mapping[str, str | None]) -> tuple[Check, ...]:
    """Judge whether each store and server answers.

    Parameters
    ----------
    answers : mapping of str to str or None
        By name, what it said instead of answering; None: it answered.
    """
    return tuple(
        check(name, Condition.FAILED, f"{name} does not answer: {why}. See 'evergreen doctor'.")
        if why
        else check(name, Condition.OK, f"{name} answers.")
        for name, why in answers.items()
    )


def judge_disk(free: float, *, limit: float) -> Check:
    """Judge the share of the disk that is free; below twice ``alerts.min_free_disk`` it warns."""
    said = f"{free:.1%} of the disk is free."
    condition = Condition.FAILED if free < limit else Condition.WARNING if free < 2 * limit else Condition.OK
    remedy = "" if condition is Condition.OK else " Make room."
    return check("disk", condition, said + remedy, observed=free, limit=limit)


def judge_age(learned_to: float | None, now: float | None, *, limit: float | None) -> Check:
    """Judge how long ago the champion's training ended.

    Parameters
    ----------
    learned_to, now : float or None
        On a clock of time, in seconds; None: not known, or no such clock.
    limit : float or None
        ``alerts.max_model_age`` in seconds.
    """
    if limit is None or learned_to is None or now is None:
        why = "alerts.max_model_age is not set" if limit is None else "the clock does not tell the time"
        return check("age", Condition.NOT_APPLICABLE, f"Not judged: {why}.")
    age = now - learned_to
    said = f"The champion's training ended {duration(max(age, 0.0))} ago; {duration(limit)} is allowed."
    condition = Condition.WARNING if age > limit else Condition.OK
    return check("age", condition, said, observed=age, limit=limit)


def judge_last_run(last: datetime | None, now: datetime, *, interval: float) -> Check:
    """Judge whether monitoring ran; three intervals without a run warn.

    Parameters
    ----------
    last : datetime or None
        When the run before this one ended; None: there was none.
    now : datetime
        Aware, like ``last``.
    interval : float
        ``monitoring.interval`` in seconds.
    """
    if last is None:
        return check("last_run", Condition.NOT_APPLICABLE, "Not judged: no earlier run is on record.")
    passed = (now - last).total_seconds()
    said = f"The last run was {duration(max(passed, 0.0))} ago; one every {duration(interval)} is expected."
    condition = Condition.WARNING if passed > _RUNS * interval else Condition.OK
    remedy = " Look at the schedule and its worker." if condition is Condition.WARNING else ""
    return check("last_run", condition, said + remedy, observed=passed, limit=_RUNS * interval)
