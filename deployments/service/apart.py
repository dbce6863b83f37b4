"""Ask an arm in such a way that a row it fails on fails alone: halves of what fails are asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from deployments.service.live import Arm
from tasks.core.serving.answers import Answers
from tasks.core.serving.batch import Batch
from tasks.core.serving.recut import recut
from tasks.core.traffic.ensemble import blend_decisions, blend_scores

Row = tuple[Any, Any, int | None, str]
"""Score, decision, version and variant of one row."""
MOST_APART = 128
"""Rows of one call that are told apart where a request has several: an arm that fails on all of them is asked about
twice as often."""


@dataclass(frozen=True, slots=True)
class Failed:
    """What stands in a row's place when the arm failed on it.

    Attributes
    ----------
    error : Exception
        What was raised.
    alone : bool
        Whether the row was asked alone; else it may be innocent, and nothing was asked alone for it.
    """

    error: Exception
    alone: bool


def units_of(batches: Sequence[Batch], *, apart: int = MOST_APART) -> list[int]:
    """Return for each row of several requests the number of its unit; rows of one unit are never asked apart.

    Rows of the first places, and requests of one row, are units of their own (a negative number); what else there is
    of a request is one. So it depends on the requests alone, and on no arm, which rows are told apart.

    Parameters
    ----------
    batches : sequence of Batch
        The requests.
    apart : int
        How many places are told apart in requests of several rows.

    >>> from types import SimpleNamespace
    >>> units_of([SimpleNamespace(n=3), SimpleNamespace(n=1), SimpleNamespace(n=2)], apart=2)
    [-1, -2, 0, -4, 2, 2]
    """
    units: list[int] = []
    for number, batch in enumerate(batches):
        for _ in range(batch.n):
            place = len(units)
            units.append(-place - 1 if place < apart or batch.n == 1 else number)
    return units


def answer_apart(arm: Arm, batch: Batch, units: Sequence[int]) -> list[Row | Failed]:
    """Return an arm's answers, and in the place of a row it fails on what was raised.

    Parameters
    ----------
    arm : Arm
        Who is asked: once where it does not fail, at most twice as often as there are units where it fails on all.
    batch : Batch
        The rows.
    units : sequence of int, shape (n,)
        Of each row (`units_of`); those of one unit stand together.
    """
    cuts = [0, *(at for at, (a, b) in enumerate(pairwise(units), 1) if a != b), batch.n]
    found: list[Row | Failed] = []
    parts = [(0, len(cuts) - 1)]
    while parts:
        first, last = parts.pop()
        begin, end = cuts[first], cuts[last]
        try:
            found += answer_arm(arm, batch if end - begin == batch.n else batch.take(range(begin, end)))
        except (
            Exception
        ) as error:  # whatever a model raises is its own; it is kept for who asked, and counted
            if last - first == 1:
                found += [Failed(error, alone=units[begin] < 0)] * (end - begin)
            else:
                middle = (first + last) // 2
                parts += [(middle, last), (first, middle)]
    return found


def answer_arm(arm: Arm, batch: Batch) -> list[Row]:
    """Return an arm's answers: its version's own, or the weighted mean of its members, decided as the champion does."""
    answers = [version.model.score(recut(batch, version.model.signature)) for version, _ in arm.members]
    if len(answers) == 1:
        return answered_rows(answers[0], arm.version, arm.variant.name)
    scores = blend_scores([one.scores for one in answers], [weight for _, weight in arm.members])
    classes = answers[0].classes
    decisions: list[Any] = [None] * batch.n
    if classes:
        decisions = blend_decisions(scores, classes=classes, threshold=arm.threshold)
    return answered_rows(Answers(scores, decisions, classes), None, arm.variant.name)


def answered_rows(answers: Answers, version: int | None, variant: str) -> list[Row]:
    """Return answers row by row."""
    scores = answers.plain_scores()
    return [(s, d, version, variant) for s, d in zip(scores, answers.decisions, strict=True)]
