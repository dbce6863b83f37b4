"""What arms are held to, and how the allowed chance of a false alarm is divided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

GUARDRAILS = ("errors", "latency", "score")
"""What an arm is watched for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What arms are held to.

    Attributes
    ----------
    error_rise : float | None
        Most by which an arm's error rate may exceed the champion's; None: not watched. So the other two.
    latency_ratio : float | None
        How many times as long as the champion an arm may take for the same rows.
    score_shift : float | None
        Most by which the mean rank of an arm's scores among the champion's may differ from the champion's own.
    false_aborts : float
        Probability that arms as good as the champion are ever sent back: of all rounds, arms and guardrails together.
    min_rows : int
        Rows of an arm that a round needs at least.
    min_time : timedelta
        Shortest round.
    processes : int
        How many processes watch the same traffic, each what it serves itself.
    """

    error_rise: float | None = 0.005
    latency_ratio: float | None = 1.5
    score_shift: float | None = 0.1
    false_aborts: float = 0.05
    min_rows: int = 500
    min_time: timedelta = timedelta(minutes=10)
    processes: int = 1


def round_level(limits: Limits, *, number: int, arms: int) -> float:
    """Return the level of one guardrail of one arm in one round.

    The n-th round spends ``1 / (n (n + 1))`` of the whole, which adds up to 1 over all rounds there will ever be; a
    round's part is divided evenly among processes, arms and guardrails.

    Parameters
    ----------
    number : int
        1, 2, 3, … since the traffic was set.
    arms : int
        Challengers watched.

    >>> round_level(Limits(), number=1, arms=1) == 0.05 / 2 / 3
    True
    """
    return limits.false_aborts / (number * (number + 1) * len(GUARDRAILS) * arms * limits.processes)


def round_number(*, set_at: datetime, now: datetime, min_time: timedelta, before: int = 0) -> int:
    """Return the number of the round that begins now.

    Rounds last ``min_time`` at least, so that time alone tells how many there can have been: a process that was
    restarted does not spend what it has spent before.

    Parameters
    ----------
    set_at : datetime
        When the traffic was set.
    now : datetime
        When the round begins.
    min_time : timedelta
        Shortest round.
    before : int
        Number of the round before in this process; 0: none.
    """
    passed = math.floor((now - set_at) / min_time) if min_time else 0
    return max(before + 1, passed + 1)
