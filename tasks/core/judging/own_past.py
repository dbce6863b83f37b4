"""The model's own past as calibration reads it: the reference's windows, in the order and on the scale of judging."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.core.drift.signals import SignalKey, Signals, SignalSeries
from tasks.core.errors import InputError
from tasks.core.judging.budget import Policy, column_places, look_levels, windows_in_budget
from tasks.core.judging.scale import Scale
from tasks.core.metrics.scored import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnPast:
    """The reference's windows, column by column, with what the policy makes of their k signals.

    Attributes
    ----------
    keys : tuple of SignalKey, length k
        Column by column; of the policy's kinds alone.
    starts, rows : array, shape (m,)
        Of the windows with enough rows.
    values : array, shape (m, k)
        On their `Scale`.
    squares : array, shape (k,)
        Mean sampling variance of a window.
    levels, sides : array, shape (k,)
        Level of one look, and the side on which a move counts.
    policy : Policy
        Budget, seasons, k of n.
    """

    keys: tuple[SignalKey, ...]
    starts: FloatArray
    rows: FloatArray
    values: FloatArray
    squares: FloatArray
    levels: FloatArray
    sides: IntArray
    policy: Policy


def read_past(series: SignalSeries | None, whole: Signals | None, policy: Policy) -> OwnPast:
    """Read the windows; without any, the signals of the reference as a whole say what there is to follow.

    Raises
    ------
    InputError
        With neither.
    """
    source = series if series is not None else whole
    if source is None:
        raise InputError(
            "Neither windows nor a reference to judge by. Train the model, or register it with rows."
        )
    wanted = [place for place, key in enumerate(source.keys) if key.kind in policy.kinds]
    codes = column_places([source.keys[place] for place in wanted])[1]
    order = np.array(wanted, dtype=np.int64)[np.argsort(codes, kind="stable")]
    keys = tuple(source.keys[place] for place in order)
    empty = np.zeros((0, len(keys)))
    enough = series.rows >= policy.min_rows if series is not None else np.zeros(0, dtype=bool)
    starts = series.starts[enough] if series is not None else np.zeros(0)
    rows = series.rows[enough] if series is not None else np.zeros(0)
    values = series.values[enough][:, order] if series is not None else empty
    errors = series.errors[enough][:, order] if series is not None else empty
    scale = Scale.of(keys)
    return OwnPast(
        keys=keys,
        starts=starts,
        rows=rows,
        values=scale.put(values),
        squares=column_means(np.square(scale.put_errors(values, errors, rows=rows[:, None]))),
        levels=look_levels(keys, policy=policy, windows=windows_in_budget(policy, starts=starts, rows=rows)),
        sides=np.array([policy.side(key) for key in keys], dtype=np.int64),
        policy=policy,
    )


def column_means(values: FloatArray) -> FloatArray:
    """Return the means of the finite values of each column, NaN where there is none."""
    finite = np.isfinite(values)
    many = finite.sum(axis=0)
    return np.where(many > 0, np.where(finite, values, 0.0).sum(axis=0) / np.maximum(many, 1), np.nan)
