"""A live test in text and log items: its newest analysis, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evergreen.tasks.core.ab_testing.definition import ARMS, LiveTest
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Params, Table, Tags, Text
from evergreen.tasks.core.reports.html import markdown_table
from evergreen.tasks.core.verdict import StageResult

Point = Mapping[str, Any]
_HEAD = ("variant", "verdict", "improvement", "sequence", "champion", "challenger", "units", "still needed")


def live_markdown(test: LiveTest, judged: StageResult) -> str:
    """Return the markdown of an analysis, for the Prefect UI and the approval form."""
    analysis, maturity = judged.details["look"], judged.details["maturity"]
    lines = [
        f"## {judged.model}, live test {test.name}: {judged.state.value}",
        "",
        test.hypothesis,
        "",
        *(f"- **{reason.code}**: {reason.message}" for reason in judged.reasons),
        "",
        *markdown_table(_HEAD, [_row(one) for one in analysis["challengers"]]),
        "",
        f"The sequence holds at any time: it is ever wrong with probability at most {test.alpha_each:g}. "
        f"An improvement of {test.effect:g} is worth finding.",
        split_line(test, analysis),
        maturity_line(maturity),
    ]
    return "\n".join(lines)


def split_line(test: LiveTest, analysis: Mapping[str, Any]) -> str:
    """Say how the units fell into the arms, or how many rows were paired."""
    if test.mode == ARMS:
        split = analysis["split"]
        counts = ", ".join(f"{name} {count}" for name, count in split["units"].items())
        text = f"Split: {counts}; p of a mismatch at any time {number(split['p_value'])} (level {split['level']:g})."
        crossed = split["crossed"]
        return f"{text} {crossed} units met several arms and count in none." if crossed else text
    due = {name: (one.get("due", 0), one.get("unpaired", 0)) for name, one in analysis["counts"].items()}
    text = ", ".join(f"{name} {rows - missed} of {rows}" for name, (rows, missed) in due.items())
    return f"Paired rows: {text}."


def maturity_line(maturity: Mapping[str, Any]) -> str:
    """Say how complete the champion's labels are by age."""
    curve = zip(maturity["ages"], maturity["curve"], strict=True)
    reached = [(age, share) for age, share in curve if share is not None]
    if not reached:
        return "Labels: no cohort is old enough to say how complete they are."
    age, share = reached[-1]
    return f"Labels: {share:.0%} of the champion's predictions have an outcome after {age:g} of the clock's units."


def live_items(
    test: LiveTest, judged: StageResult, traces: Mapping[str, Sequence[Point]], *, page: str, html: str
) -> Iterator[LogItem]:
    """Describe what is logged of an analysis: numbers, the sequence over time, and the page."""
    sides = ("control", "challenger", "n_control", "n_challenger")
    names = ("improvement", "low", "high", *sides, "log_e_value")
    results = judged.details["look"]["challengers"]
    for one in results:
        values = {name: one[name] for name in names} | {"still_needed": one["need"]["still"]}
        yield Metrics({f"{one['variant']}.{name}": float(x) for name, x in values.items() if x is not None})
    yield Params({name: getattr(test, name) for name in ("metric", "mode", "min_improvement", "alpha")})
    verdicts = {f"evergreen.verdict.{one['variant']}": one["verdict"] for one in results}
    decision = str(judged.decision_id)
    yield Tags({"evergreen.state": judged.state.value, "evergreen.decision": decision, **verdicts})
    for variant, points in traces.items():
        columns = ("at", "n", "improvement", "low", "high", "verdict")
        yield Table(f"trace-{variant}.json", {name: [point[name] for point in points] for name in columns})
    yield Json("look.json", judged.to_dict())
    yield Text("look.md", page)
    yield Text("live-test.html", html)


def number(value: Any) -> str:
    """Return a number as it is shown; a dash where it is not known."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _row(one: Mapping[str, Any]) -> list[str]:
    low = "-∞" if one["low"] is None else number(one["low"])
    high = "∞" if one["high"] is None else number(one["high"])
    units = str(one["n_control"]) if one["paired"] else f"{one['n_control']} + {one['n_challenger']}"
    need = one["need"]
    return [
        f"{one['variant']} (version {one['version']})",
        one["verdict"],
        number(one["improvement"]),
        f"[{low}, {high}]",
        number(one["control"]),
        number(one["challenger"]),
        units,
        number(None) if need["still"] is None else f"{need['still']} {need.get('what', 'units')}",
    ]
