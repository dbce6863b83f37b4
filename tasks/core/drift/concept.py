"""Concept: how closely each feature is linked with the outcome, from joint tables of at most 10 x 10 cells.

Two measures a feature:

* ``information``: mutual information in nats, corrected for its bias. It sees any change of how much a feature says,
  and not in which direction. A feature's missing values are a group of their own.
* ``correlation``: Fisher's z of the correlation of scores that the reference fixes. It sees a link that turns round.
  Missing values are left out.

Siblings: the champion's loss (`evergreen.tasks.core.drift.answers`) sees a change of concept that matters to the
model in use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.stats.association import group_scores, mutual_information, score_correlation

GROUPS = 10
"""Most groups of a feature, and of the outcome, in a joint table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """What the reference says of the links, prepared once and used for every window.

    Attributes
    ----------
    keys : tuple of SignalKey, length 2 p
        Information, then correlation of the p features.
    columns : tuple of str
        The features.
    rows, columns_scores : array, shapes (p, 10) and (p, 10)
        Fixed scores.
    floors : array, shape (2 p,)
        Smallest change that counts.
    """

    keys: tuple[SignalKey, ...]
    columns: tuple[str, ...]
    rows: FloatArray
    columns_scores: FloatArray
    floors: FloatArray

    def measure(self, profile: Profile | None) -> Signals:
        """Return information and correlation of a profile's features; NaN for one without labelled rows, or none."""
        if profile is None:
            unknown = np.full(len(self.keys), np.nan)
            return Signals(keys=self.keys, values=unknown, errors=unknown, floors=self.floors)
        values, errors = _statistics(_tables(profile, self.columns), self.rows, self.columns_scores)
        return Signals(keys=self.keys, values=values, errors=errors, floors=self.floors)


def prepare_links(reference: Profile, *, correlation_threshold: float, information_threshold: float) -> Links:
    """Prepare the links of the features of a reference with its outcome.

    Parameters
    ----------
    reference : Profile
        With joint tables with ``grid.outcome``.
    correlation_threshold : float
        Smallest change of Fisher's z that counts.
    information_threshold : float
        Smallest change of information that counts, as a share of the reference's; at least what a normal pair of
        correlation ``correlation_threshold`` would have, -ln(1 - r²) / 2.
    """
    names = tuple(name for name in reference.columns if name != reference.grid.outcome)
    tables = _tables(reference, names)
    rows, columns = _scores(reference, names, tables)
    values, _ = _statistics(tables, rows, columns)
    least = -np.log1p(-(correlation_threshold**2)) / 2
    information = np.nan_to_num(values[: len(names)])
    floors = [
        np.maximum(information_threshold * np.abs(information), least),
        np.full(len(names), correlation_threshold),
    ]
    keys = [
        SignalKey(DriftKind.CONCEPT, name, measure)
        for measure in ("information", "correlation")
        for name in names
    ]
    return Links(
        keys=tuple(keys), columns=names, rows=rows, columns_scores=columns, floors=np.concatenate(floors)
    )


def _statistics(tables: FloatArray, rows: FloatArray, columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return information then correlation, and their errors, each shape (2 p,)."""
    information, correlation = mutual_information(tables), score_correlation(tables, rows, columns)
    return np.concatenate([information.value, correlation.value]), np.concatenate(
        [information.error, correlation.error]
    )


def _tables(profile: Profile, names: tuple[str, ...]) -> FloatArray:
    """Return the joint tables of labelled rows, padded with zeros, shape (p, 10, 10); a feature's last row: missing."""
    tables = np.zeros((len(names), GROUPS, GROUPS))
    for place, name in enumerate(names):
        counted = np.asarray(profile.columns[name].joint, dtype=np.float64)
        if counted.ndim == 2:
            joint = counted[:, :-1]
            tables[place, : len(joint) - 1, : joint.shape[1]] = joint[:-1]
            tables[place, -1, : joint.shape[1]] = joint[-1]
    return tables


def _scores(reference: Profile, names: tuple[str, ...], tables: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return fixed scores of feature groups and outcome groups, each (p, 10); NaN for a feature's missing values."""
    rows, columns = np.full((len(names), GROUPS), np.nan), np.zeros((len(names), GROUPS))
    for place, name in enumerate(names):
        table = tables[place, :-1]
        up, across = _is_ordered(reference, name), _is_ordered(reference, str(reference.grid.outcome))
        rows[place, :-1], columns[place] = group_scores(table, up=up, across=across)
    return rows, columns


def _is_ordered(reference: Profile, name: str) -> bool:
    counts = np.asarray(reference.columns[name].counts)
    return reference.grid.columns[name].kind == "numeric" or int((counts > 0).sum()) <= 2
