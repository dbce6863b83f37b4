"""Windows that fit how dense the data are: evaluation, blocks, monitoring, retraining, purge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.errors import counted

# Keys that are proposed, lengths of time a person would write, and how long targets resemble each other.


DAY = 86_400.0
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY}
_SHORT = ("1m", "5m", "10m", "15m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h")
_DAYS = "1 2 3 5 7 14 21 28 35 42 56 70 84 98 112 140 168 182 224 280 364 546 728 1092 1820"
LENGTHS = (*_SHORT, *(f"{days}d" for days in _DAYS.split()))
"""Lengths that are proposed, shortest first."""


@dataclass(frozen=True)
class ProposedKey:
    """One key of the configuration: dotted name, plain value, and why it is proposed (empty: no comment needed)."""

    key: str
    value: Any
    why: str = ""


def seconds(text: str) -> float:
    """Return the length of a proposed span in seconds.

    >>> seconds("2h")
    7200.0
    """
    return float(text[:-1]) * _SECONDS[text[-1]]


def resemblance(y: np.ndarray, positions: np.ndarray) -> float:
    """Return how long numbers resemble their successors: 0 unless neighbours correlate above 0.95.

    That is how targets look whose windows overlap (the mean of the next day, known every hour). The answer is
    the distance at which the correlation has fallen below one half; rows that share a moment tell nothing.
    """
    if len(y) < 200 or np.ptp(y) == 0 or len(np.unique(positions)) < 0.9 * len(positions):
        return 0.0
    centred = y - y.mean()
    scale = float(np.mean(centred**2))
    like = [float(np.mean(centred[k:] * centred[:-k])) / scale for k in range(1, min(500, len(y) // 4))]
    if like[0] <= 0.95:
        return 0.0
    steps = next((k for k, value in enumerate(like, start=1) if value < 0.5), len(like))
    return steps * float(np.median(np.diff(positions)))


TRAINING = ("180d", "270d", "365d", "545d", "730d", "1095d", "1460d", "1825d")
SHARE = 0.2
"""An evaluation window takes at most this share of history."""
BLOCKS, FEWEST_BLOCKS = 28, 7
EVALUATION_ROWS, EVALUATION_GROUPS = 1_000, 100
WINDOW_ROWS, LONGEST_WINDOW = 500, 56 * DAY
TRAINING_ROWS = 10_000
HOLDOUT_SHARE, HOLDOUT_ROWS, HOLDOUT_BLOCKS, HOLDOUT_GROUPS = 0.15, 500, 2 * FEWEST_BLOCKS, 50
"""A holdout: at most this share of the training window (the default), and what the gate needs."""
MOST_ROWS = 200_000
"""More training rows than this take minutes and rarely help."""


def propose_windows(
    positions: np.ndarray | None,
    *,
    clock: str,
    rows: int,
    group: np.ndarray | None = None,
    lasting: float = 0.0,
) -> tuple[ProposedKey, ...]:
    """Propose the windows of a model.

    Parameters
    ----------
    positions : ndarray of shape (n,) or None
        Ascending clock positions of all rows; None without a clock.
    clock : {'timestamp', 'seconds', 'rows'}
        Unit of the positions.
    rows : int
        Number of rows.
    group : ndarray of shape (n,), optional
        Codes of the ranking groups.
    lasting : float
        How long, in the clock's unit, a row's target resembles the next ones' (see `resemblance`).
    """
    if positions is None:
        return _holdout(int(0.8 * rows))
    if clock == "rows":
        return _by_rows(positions, lasting)
    evaluation, retraining = _evaluation(positions, group), _retraining(positions, group)
    return (
        *evaluation,
        *(_holdout(rows) or _holdout_span(positions, group, chosen=[*evaluation, *retraining])),
        *_purge(positions, lasting),
        _monitoring(positions),
        *retraining,
    )


def _holdout(rows: int) -> tuple[ProposedKey, ...]:
    why = f"{rows} rows are few; the gate needs 50 of them at least"
    return (ProposedKey("split.holdout", 0.25, why),) if rows < 600 else ()


def _holdout_span(
    positions: np.ndarray, group: np.ndarray | None, *, chosen: list[ProposedKey]
) -> tuple[ProposedKey, ...]:
    """Propose the shortest holdout the gate can judge on, four times in five; a longer one makes challengers staler."""
    values = {entry.key: entry.value for entry in chosen}
    history, window = positions[-1] - positions[0], values["retraining.window"]
    block = seconds(values.get("evaluation.block", "1d"))
    most = HOLDOUT_SHARE * ((1 - SHARE) * history if window == "full" else seconds(window))
    for text in LENGTHS:
        length = seconds(text)
        if not HOLDOUT_BLOCKS * block <= length <= most:
            continue
        place = np.floor((positions - positions[0]) / length)
        rows = _usual(place)
        enough = rows >= HOLDOUT_ROWS and _usual(place, np.floor(positions / block)) >= HOLDOUT_BLOCKS
        if enough and (group is None or _usual(place, group) >= HOLDOUT_GROUPS):
            enough_for = f"about {rows:,.0f} rows, which the gate can judge on"
            why = f"{enough_for}; more would make each challenger staler"
            return (ProposedKey("split.holdout", text, why),)
    return ()


def _usual(place: np.ndarray, code: np.ndarray | None = None) -> float:
    """Return how many rows (distinct codes) four of five whole windows have at least, given each row's window."""
    if code is not None:
        place = np.unique(np.column_stack([place, code]), axis=0)[:, 0]
    counts = np.bincount(place.astype(np.int64))[:-1]
    return float(np.quantile(counts, 0.2)) if len(counts) else 0.0


def _by_rows(positions: np.ndarray, lasting: float) -> tuple[ProposedKey, ...]:
    n = len(positions)
    window = int(min(max(_round(0.1 * n), 1_000), _round(SHARE * n)))
    monitored = WINDOW_ROWS if n < 50 * WINDOW_ROWS * 2 else 2 * WINDOW_ROWS
    learned = n - window if n <= 2 * TRAINING_ROWS else max(TRAINING_ROWS, min(_round(0.4 * n), MOST_ROWS))
    training = "full" if n <= 2 * TRAINING_ROWS else f"{learned} rows"
    share = "tenth of history" if window == _round(0.1 * n) else "fifth of history at most"
    keys = [ProposedKey("evaluation.validation_window", f"{window} rows", f"the newest {share}")]
    if 2 * HOLDOUT_ROWS <= HOLDOUT_SHARE * learned:
        why = "enough for the gate; a longer one makes each challenger staler"
        keys.append(ProposedKey("split.holdout", f"{2 * HOLDOUT_ROWS} rows", why))
    if lasting:
        why = "neighbouring targets overlap: they resemble"
        keys.append(ProposedKey("split.purge", f"{_round(lasting)} rows", why))
    return (
        *keys,
        ProposedKey("monitoring.window", f"{monitored} rows", "a window needs 500 rows or more"),
        ProposedKey("retraining.window", training, "enough to learn from, recent enough to hold"),
    )


def _round(value: float) -> int:
    """Return a number a person would write: one or two leading digits.

    >>> _round(4983.0), _round(17.2)
    (5000, 17)
    """
    if value < 20:
        return max(round(value), 1)
    scale = 10 ** (len(str(int(value))) - 1) // (2 if value >= 100 else 10) or 1
    return round(value / scale) * scale


def _evaluation(positions: np.ndarray, group: np.ndarray | None) -> list[ProposedKey]:
    end, history = positions[-1], positions[-1] - positions[0]
    wanted = min(EVALUATION_ROWS, 0.1 * len(positions))
    chosen, rows, blocks = None, 0, 0
    for text in LENGTHS:
        if seconds(text) > SHARE * history:
            break
        inside = positions > end - seconds(text)
        blocks = len(np.unique(np.floor((end - positions[inside]) / DAY)))
        groups = len(np.unique(group[inside])) if group is not None else EVALUATION_GROUPS
        chosen, rows = text, int(inside.sum())
        if blocks >= BLOCKS and rows >= wanted and groups >= EVALUATION_GROUPS:
            break
    if chosen is None:
        return []
    length = f"{history / DAY:,.0f} days" if history >= 3 * DAY else f"{history / 3_600:,.1f} hours"
    why = f"the newest {rows:,} rows on {counted(blocks, 'day')} of {length}"
    keys = [ProposedKey("evaluation.validation_window", chosen, why)]
    if blocks < FEWEST_BLOCKS:
        fit = [text for text in LENGTHS if 2 * FEWEST_BLOCKS * seconds(text) <= seconds(chosen)]
        block = fit[-1] if fit else f"{max(int(seconds(chosen) / (2 * FEWEST_BLOCKS)), 1)}s"
        keys.append(ProposedKey("evaluation.block", block, "days would be too few blocks"))
    return keys


def _purge(positions: np.ndarray, lasting: float) -> list[ProposedKey]:
    most = (positions[-1] - positions[0]) / 50
    fit = [text for text in LENGTHS if seconds(text) >= lasting]
    if not lasting or not fit or seconds(fit[0]) > most:
        return []
    why = "neighbouring targets resemble each other this long: a gap keeps them out of both sides"
    return [ProposedKey("split.purge", fit[0], f"{why} of a boundary")]


def _monitoring(positions: np.ndarray) -> ProposedKey:
    """Propose the shortest window that holds 500 rows four times in five."""
    for text in LENGTHS:
        edges = np.arange(positions[0], positions[-1], seconds(text))
        if len(edges) < 10 or seconds(text) > LONGEST_WINDOW:
            break
        if len(edges) > len(positions):
            continue
        counts = np.diff(np.searchsorted(positions, edges))
        if np.quantile(counts, 0.2) >= WINDOW_ROWS:
            why = f"about {int(np.median(counts)):,} rows a window"
            return ProposedKey("monitoring.window", text, why)
    why = "no length of time holds 500 rows reliably"
    return ProposedKey("monitoring.window", f"{WINDOW_ROWS} rows", why)


def _retraining(positions: np.ndarray, group: np.ndarray | None) -> list[ProposedKey]:
    end, history = positions[-1], positions[-1] - positions[0]
    window, inside = "full", len(positions)
    for text in TRAINING:
        if seconds(text) > 0.8 * history:
            break
        count = int((positions > end - seconds(text)).sum())
        if count >= TRAINING_ROWS:
            window, inside = text, count
            break
    why = f"holds {inside:,} rows"
    if window == "full":
        why = f"all {inside:,} rows: half a year would hold too few"
    keys = [ProposedKey("retraining.window", window, why)]
    if inside > MOST_ROWS and group is None:
        keys.append(ProposedKey("split.max_rows", MOST_ROWS, "more rows train for minutes, hardly better"))
    return keys
