"""Score the rows of requests that wait together: the champion's in one call, and each other arm's in one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from evergreen.deployments.service.errors import place_of
from evergreen.deployments.service.live import Live, ServedArm
from evergreen.tasks.core.serving.answers import Answers
from evergreen.tasks.core.serving.batch import Batch, project_columns
from evergreen.tasks.core.traffic.assign import entity_key
from evergreen.tasks.core.traffic.variant import blend_decisions, blend_scores

# Ask an arm in such a way that a row it fails on fails alone: halves of what fails are asked again.


Row = tuple[Any, Any, int | None, str]
"""Score, decision, version and variant of one row."""
MAX_ISOLATED_ROWS = 128
"""Rows of one call that are told apart where a request has several: an arm that fails on all of them is asked about
twice as often."""


@dataclass(frozen=True, slots=True)
class FailedRow:
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


def units_of(batches: Sequence[Batch], *, apart: int = MAX_ISOLATED_ROWS) -> list[int]:
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


def isolate_failures(arm: ServedArm, batch: Batch, units: Sequence[int]) -> list[Row | FailedRow]:
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
    found: list[Row | FailedRow] = []
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
                found += [FailedRow(error, alone=units[begin] < 0)] * (end - begin)
            else:
                middle = (first + last) // 2
                parts += [(middle, last), (first, middle)]
    return found


def answer_arm(arm: ServedArm, batch: Batch) -> list[Row]:
    """Return an arm's answers: its version's own, or the weighted mean of its members, decided as the champion does."""
    answers = [
        version.model.score(project_columns(batch, version.model.signature)) for version, _ in arm.members
    ]
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


logger = logging.getLogger(__name__)

CHAMPION = "champion"
Scored = list[Row | FailedRow]
"""Answers of rows, and what was raised in the place of those that have none."""


@dataclass(frozen=True, slots=True)
class Routed:
    """What became of one row, for the guardrails.

    Attributes
    ----------
    index : int
        Place in the plan of the variant it was meant for.
    hashed : int
        Hash of what it was assigned by.
    failed, answered : bool
        Whether the variant failed on this very row; whether it answered.
    """

    index: int
    hashed: int
    failed: bool = False
    answered: bool = True


def score_rows(
    live: Live, batches: Sequence[Batch], whole: Batch, ids: Sequence[str], *, apart: bool = True
) -> tuple[Scored, list[Routed]]:
    """Answer the rows of several requests, one after the other.

    A challenger that fails on a row is answered for by the champion: its failure is its own, and counted. So is the
    champion's, for which nobody answers.

    Parameters
    ----------
    live : Live
        What is served.
    batches : sequence of Batch
        Of one signature, the champion's.
    whole : Batch
        All of them as one.
    ids : sequence of str
        Prediction id of each row of all batches: whoever has neither group (of a ranking) nor entity is assigned by it.
    apart : bool
        Whether rows on which an arm fails are told apart from others (`answer_apart`), so that none fails for
        another's sake; else whatever a model raises is raised.

    Returns
    -------
    Scored, list of Routed
        One answer a row; and who was meant to give it, nothing where the champion answers everything.
    """
    plain = live.plan.is_plain
    units = units_of(batches, apart=0 if plain else MAX_ISOLATED_ROWS) if apart else None
    if plain:
        return _score_arm(live.arms[CHAMPION], whole, units), []
    assigner = live.assigner
    hashes = [assigner.hash(key) for key in row_keys(batches, ids)]
    by_variant: dict[int, list[int]] = {}
    for place, hashed in enumerate(hashes):
        by_variant.setdefault(assigner.route_of(hashed).index, []).append(place)
    rows: Scored = [None] * whole.n  # type: ignore[list-item]
    routed: list[Routed] = [None] * whole.n  # type: ignore[list-item]
    for index, places in by_variant.items():
        own = None if units is None else [units[place] for place in places]
        found, told = _answer_variant(live, index, _take(whole, places), own)
        for place, row, (failed, answered) in zip(places, found, told, strict=True):
            rows[place] = row
            routed[place] = Routed(index, hashes[place], failed, answered)
    return rows, routed


def _answer_variant(
    live: Live, index: int, batch: Batch, units: Sequence[int] | None
) -> tuple[Scored, list[tuple[bool, bool]]]:
    """Return a variant's answers, the champion's where there are none, and of each row if it failed and answered."""
    name, champion = live.plan.variants[index].name, live.arms[CHAMPION]
    arm = live.arms.get(name)
    if arm is None:  # it could not be loaded
        return _score_arm(champion, batch, units), [(False, False)] * batch.n
    rows = _score_arm(arm, batch, units)
    failed = [place for place, row in enumerate(rows) if type(row) is FailedRow]
    if not failed:
        return rows, [(False, True)] * batch.n
    told = [(row.alone, False) if isinstance(row, FailedRow) else (False, True) for row in rows]
    if arm is not champion and units is not None:
        _log_failure(name, rows[failed[0]])
        instead = _score_arm(champion, _take(batch, failed), [units[place] for place in failed])
        for place, row in zip(failed, instead, strict=True):
            rows[place] = row
    return rows, told


def _score_arm(arm: ServedArm, batch: Batch, units: Sequence[int] | None) -> Scored:
    if units is None:
        return [*answer_arm(arm, batch)]
    return isolate_failures(arm, batch, units)


def _log_failure(name: str, first: Row | FailedRow) -> None:
    if isinstance(first, FailedRow):
        logger.warning(
            "variant '%s' fails: %s at %s", name, type(first.error).__name__, place_of(first.error)
        )


def row_keys(batches: Sequence[Batch], ids: Sequence[str]) -> list[str]:
    """Return what each row is assigned by: the group of a ranking, else its entity, else its own id."""
    keys: list[str | None] = []
    for batch in batches:
        who = batch.entities if batch.entities is not None else [None] * batch.n
        group = batch.signature.group
        keys += (
            who
            if group is None
            else [entity_key(g) or e for g, e in zip(batch.column(group), who, strict=True)]
        )
    return [key or name for key, name in zip(keys, ids, strict=True)]


def _take(batch: Batch, places: Sequence[int]) -> Batch:
    return batch if len(places) == batch.n else batch.take(places)
