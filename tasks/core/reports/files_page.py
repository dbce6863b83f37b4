"""The page of two files compared: what drifted, every column's measures, the most moved distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from evergreen.tasks.core.drift.columns import ColumnMeasure
from evergreen.tasks.core.drift.files import FilesDrift
from evergreen.tasks.core.drift.measures import DriftMeasure
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.registry import DRIFT_MEASURES
from evergreen.tasks.core.reports import html
from evergreen.tasks.core.reports.drift_charts import distribution
from evergreen.tasks.core.reports.html import document, scrolled, section
from evergreen.tasks.core.verdict import State

MOST_CHARTS, FEWEST_CHARTS = 24, 6
_CARDS = {State.NO_DRIFT: "quiet", State.DRIFT: "drift", State.INSUFFICIENT_DATA: "insufficient"}
_HEAD = ("column", "kind", "says", "PSI", "by chance", "shift", "KS", "p corrected")
_TAIL = ("missing", "unseen")
_NOTE = (
    "PSI: population stability index over the reference's deciles or categories, missing values a cell of their own; "
    "'by chance' is what it exceeds in one of 20 comparisons without any drift. Shift: of the mean, in standard "
    "deviations. KS: largest distance of the distribution functions. p corrected: Kolmogorov–Smirnov for numbers, χ² "
    "for categories, corrected for the number of columns. {measures}A column drifted when its PSI "
    "and its corrected p-value both say so; with many rows a p-value alone is small for harmless moves."
)


def files_page(drift: FilesDrift, reference: Profile, current: Profile) -> str:
    """Return the page; it needs no network.

    Parameters
    ----------
    drift : FilesDrift
        What was found.
    reference, current : Profile
        What it was found in, over one grid.
    """
    parts = [_card(drift)]
    figures = _figures(drift, reference, current)
    if any(figures):
        note = "Shares of rows in the current file (coloured) against the reference (grey), the most moved first."
        pair = '<div class="pair" style="margin-top:1rem">'
        pairs = [f"{pair}{''.join(some)}</div>" for some in figures if some]
        parts.append(section("What moved most", *pairs, note=note))
    if drift.columns:
        measures = [one for one in DRIFT_MEASURES.standard().values() if one.in_table]
        note = _NOTE.format(measures="".join(f"{one.label}: {one.title}. " for one in measures))
        head = (*_HEAD, *(one.label for one in measures), *_TAIL)
        table = html.table(head, [_row(one, measures) for one in drift.by_move])
        parts.append(section("Every column", scrolled(table), note=note))
    rest = _left_out(drift)
    if rest:
        parts.append(section("Not compared", html.table(("column", "why"), rest)))
    return document("Drift between two files", parts)


def _card(drift: FilesDrift) -> str:
    what = "".join(f'<p class="what">{escape(reason.message)}</p>' for reason in drift.reasons)
    some = drift.columns[0] if drift.columns else None
    facts = [
        ("reference", f"{drift.reference}{f', {some.reference_n:,} rows' if some else ''}"),
        ("current", f"{drift.current}{f', {some.n:,} rows' if some else ''}"),
        ("columns compared", str(len(drift.columns))),
        ("drifted", str(len(drift.drifted))),
    ]
    return (
        f'<div class="card {_CARDS[drift.state]}"><span class="state">{drift.state.value}</span>{what}'
        f"{html.fact_list(facts)}</div>"
    )


def _figures(drift: FilesDrift, reference: Profile, current: Profile) -> tuple[list[str], list[str]]:
    """Return the charts of what drifted, and of the next most moved where little did: of numbers, of categories."""
    shown = [one for one in drift.by_move if one.drifted is not None]
    by_kind: dict[str, list[str]] = {"numeric": [], "categorical": []}
    for one in shown[: min(MOST_CHARTS, max(FEWEST_CHARTS, len(drift.drifted)))]:
        caption = "drifted, " if one.drifted else ""
        caption += f"PSI {one.psi:.3g} (by chance up to {one.psi_chance:.2g})"
        if max(one.missing_before, one.missing_after) > 0:
            caption += f", missing {one.missing_before:.1%} → {one.missing_after:.1%}"
        grid = reference.grid.columns[one.column]
        sides = reference.columns[one.column], current.columns[one.column]
        chart = distribution(grid, *sides, private=grid.hashed).draw(one.column)
        by_kind[one.kind].append(f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>")
    return by_kind["numeric"], by_kind["categorical"]


def _row(one: ColumnMeasure, measures: Sequence[DriftMeasure]) -> tuple[str, ...]:
    says, css = ("drift", "word-drift") if one.drifted else ("quiet", "")
    if one.drifted is None:
        says, css = (one.reason.code.replace("_", " ") if one.reason else "not judged"), "word-warning"
    missing = f"{_share(one.missing_before)} → {_share(one.missing_after)}"
    return (
        one.column,
        one.kind,
        html.cell(says, css=css),
        _number(one.psi),
        _number(one.psi_chance),
        _number(one.mean_shift, signed=True),
        _number(one.ks),
        _number(one.adjusted_p_value),
        *(_number(one.distances.get(measure.name, math.nan)) for measure in measures),
        missing if max(one.missing_before, one.missing_after) > 0 else "",
        _share(one.unseen),
    )


def _left_out(drift: FilesDrift) -> list[tuple[str, str]]:
    return [
        *((name, "in the reference alone") for name in drift.lost),
        *((name, "in the current file alone") for name in drift.new),
        *(pair for some in (drift.changed, drift.unreadable, drift.skipped) for pair in some.items()),
    ]


def _number(value: float, *, signed: bool = False) -> str:
    """Write a number for people, nothing for what is not defined.

    >>> _number(0.123456), _number(math.nan), _number(1e-9), _number(0.5, signed=True)
    ('0.123', '', '< 0.001', '+0.5')
    """
    if math.isnan(value):
        return ""
    if abs(value) < 0.001:
        return "< 0.001" if value >= 0 else "> -0.001"
    return f"{value:+.3g}" if signed else f"{value:.3g}"


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1%}"
