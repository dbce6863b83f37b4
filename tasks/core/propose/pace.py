"""How often a model is retrained, and which challenger takes over: three looks apart, and by what history says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.core.config.evaluation import EvaluationConfig
from tasks.core.config.units import Span, parse_span
from tasks.core.metrics.scored import FloatArray
from tasks.core.propose.freshness import Freshness
from tasks.core.propose.spans import LENGTHS, Entry, seconds

LOOKS = 3
"""Looks of monitoring that a champion is judged by before it may be followed."""
LONGEST = 0.2
"""A longer share of history between two retrainings is hardly ever come to."""


def propose_pace(windows: Sequence[Entry], positions: FloatArray | None, *, clock: str) -> tuple[Entry, ...]:
    """Propose ``retraining.cooldown`` and ``retraining.every``.

    A champion is judged by monitoring's windows, and drift by three of them: what is retrained more often is not
    judged. Where a window counts rows on a clock of time, the median time that so many rows took stands for it.

    Parameters
    ----------
    windows : sequence of Entry
        What was proposed for the other keys (`tasks.core.propose.windows.propose_windows`).
    positions : ndarray of shape (n,) or None
        Ascending clock positions of all rows; without a clock nothing is proposed.
    clock : {'timestamp', 'seconds', 'rows'}
        Unit of the positions.
    """
    chosen = {entry.key: entry.value for entry in windows}
    if positions is None or "monitoring.window" not in chosen:
        return ()
    look = parse_span(chosen["monitoring.window"])
    why = f"{LOOKS} looks of monitoring: a champion that is followed earlier was hardly judged"
    if clock == "rows":
        return (Entry(key="retraining.every", value=f"{int(LOOKS * look.amount)} rows", why=why),)
    pace = _threefold(look) if look.unit == "seconds" else _time_of(int(look.amount), positions)
    if pace is None or seconds(pace) > LONGEST * (positions[-1] - positions[0]):
        pace = chosen.get("evaluation.validation_window")
        why = (
            f"{LOOKS} looks would take too long; so each challenger is judged on rows that none was judged on"
        )
    if pace is None:
        return ()
    return (
        Entry(key="retraining.cooldown", value=pace, why=why),
        Entry(
            key="retraining.every",
            value=pace,
            why="the newest rows are learned as soon as the cooldown is over",
        ),
    )


def propose_succession(found: Freshness | None) -> tuple[Entry, ...]:
    """Propose ``evaluation.policy``, ``margin`` and ``retraining.back_off`` where freshness surely pays.

    Where it does not, nothing: the default lets a challenger win by being better alone, so that equals do not.
    """
    if found is None or not found.pays:
        return ()
    margin = EvaluationConfig().min_improvement
    p = "p < .001" if found.p_value < 0.001 else f"p = {found.p_value:.3f}".replace("0.", ".")
    measured = (
        f"measured on {found.blocks} blocks of history, fresh models lose {found.gain:.0%} less than one of its first "
        f"third ({p}): a newer one that is not worse takes over"
    )
    return (
        Entry(key="evaluation.policy", value="non_inferiority", why=measured),
        Entry(
            key="evaluation.margin",
            value=margin,
            why="not worse: by less than min_improvement, the least difference that counts",
        ),
        Entry(
            key="retraining.back_off",
            value=1.0,
            why="models age here: a challenger that was refused is no reason to wait longer for the next",
        ),
    )


def _threefold(look: Span) -> str:
    number, unit = look.text[:-1], look.text[-1]
    return f"{LOOKS * int(number)}{unit}"


def _time_of(rows: int, positions: FloatArray) -> str | None:
    """Return the shortest proposed length that three times the median time of so many rows fits in."""
    if rows >= len(positions):
        return None
    wanted = LOOKS * float(np.median(positions[rows:] - positions[:-rows]))
    return next((text for text in LENGTHS if seconds(text) >= wanted), None)
