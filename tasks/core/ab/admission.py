"""Which challenger waits for live evidence: admitted by its challenge, and not tested since."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tasks.core.ab.history import TestState
from tasks.core.challenge.judgement import JUDGEMENT
from tasks.core.reign.ledger import Entry
from tasks.core.verdict import State

LIVE_PATHS = ("shadow", "ab")
"""Values of ``promotion.path`` under which the live verdict promotes."""


def admitted_challenger(
    decisions: Iterable[Entry],
    tests: Sequence[TestState],
    *,
    path: str,
    challenger: int | None,
    champion: int | None,
) -> int | None:
    """Return the version that is to be tested live; None where nobody waits.

    Parameters
    ----------
    decisions : iterable of Entry
        The model's decisions in order.
    tests : sequence of TestState
        Its live tests so far.
    path : str
        ``promotion.path``.
    challenger, champion : int or None
        Versions under the aliases.
    """
    if path not in LIVE_PATHS or challenger is None or champion is None or challenger == champion:
        return None
    judged = [one for one in decisions if one.kind == JUDGEMENT and one.payload.get("version") == challenger]
    if not judged or judged[-1].payload.get("state") != State.ADMITTED.value:
        return None
    tested = [
        state
        for state in tests
        if challenger in {arm.version for arm in state.test.challengers} and state.created_at >= judged[-1].at
    ]
    return None if tested else challenger
