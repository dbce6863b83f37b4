"""The head of a stream of looks: where it stands, and from where on rows matter to the next look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.core.alerts.alert import Alert
from tasks.core.data.clock import Window
from tasks.core.judging.memory import Memory
from tasks.core.watching.looking import Seen


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where a stream of looks stands.

    Attributes
    ----------
    seq : int
        Number of its last entry; 0 for an empty stream.
    end : float | None
        End of the last window; None before the first.
    version : int | None
        The champion that was looked at.
    memory : Memory
        What the judge remembers; empty where the log has been purged of it.
    alert : Alert | None
        The alert of the last look.
    """

    seq: int = 0
    end: float | None = None
    version: int | None = None
    memory: Memory
    alert: Alert | None = None


def frontier(head: Head, *, learned: float | None, judged: Sequence[Window] | None = None) -> float:
    """Return the position from which on rows matter to the next look.

    Parameters
    ----------
    learned : float | None
        Position from which on rows are new to the champion.
    judged : sequence of Window, optional
        For ``outcomes``: windows whose inputs were judged, oldest first.
    """
    place = head.end if head.end is not None else -math.inf if learned is None else learned
    return min(place, judged[0].start) if judged else place


def after_look(head: Head, seen: Seen, alert: Alert, *, seq: int) -> Head:
    """Return where the stream stands once a look is kept as its entry number ``seq``."""
    looked = seen.looked
    return replace(
        head, seq=seq, end=looked.window.end, version=looked.version, memory=seen.memory, alert=alert
    )
