"""A live test in words and log items: what is seen at a look, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evergreen.tasks.core.ab_testing.definition import ARMS, LiveTest
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Params, Table, Tags, Text
from evergreen.tasks.core.verdict import StageResult

Point = Mapping[str, Any]


def live_markdown(test: LiveTest, judged: StageResult) -> str:
    """Return the markdown of a look, for the Prefect UI and the approval form."""
    look, maturity = judged.details["look"], judged.details["maturity"]
    lines = [
        f"## {judged.model}, live test {test.name}: {judged.state.value}",
        "",
        test.hypothesis,
        "",
        *(f"- **{reason.code}**: {reason.message}" for reason in judged.reasons),
        "",
        "| variant | verdict | improvement | sequence | champion | challenger | units | still needed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(f"| {' | '.join(_row(one))} |" for one in look["challengers"]),
        "",
        _alpha_line(test),
        split_line(test, look),
        maturity_line(maturity),
    ]
    return "\n".join(line for line in lines if line is not None)


def split_line(test: LiveTest, look: Mapping[str, Any]) -> str:
    """Say how the units fell into the arms, or how many rows were paired."""
    if test.mode == ARMS:
        split = look["split"]
        counts = ", ".join(f"{name} {count}" for name, count in split["units"].items())
        said = f"Split: {counts}; p of a mismatch at any time {number(split['p_value'])} (level {split['level']:g})."
        crossed = split["crossed"]
        return f"{said} {crossed} units met several arms and count in none." if crossed else said
    due = {name: (counts.get("due", 0), counts.get("unpaired", 0)) for name, counts in look["counts"].items()}
    said = ", ".join(f"{name} {rows - missed} of {rows}" for name, (rows, missed) in due.items())
    return f"Paired rows: {said}."


def maturity_line(maturity: Mapping[str, Any]) -> str:
    """Say how complete the champion's labels are by age."""
    known = [
        (age, share)
        for age, share in zip(maturity["ages"], maturity["curve"], strict=True)
        if share is not None
    ]
    if not known:
        return "Labels: no cohort is old enough to say how complete they are."
    age, share = known[-1]
    return f"Labels: {share:.0%} of the champion's predictions have an outcome after {age:g} of the clock's units."


def live_items(
    test: LiveTest, judged: StageResult, traces: Mapping[str, Sequence[Point]], *, page: str, html: str
) -> Iterator[LogItem]:
    """Describe what is logged of a look: numbers, the sequence over time, and the page."""
    for one in judged.details["look"]["challengers"]:
        names = (
            "improvement",
            "low",
            "high",
            "control",
            "challenger",
            "n_control",
            "n_challenger",
            "log_e_value",
        )
        values = {f"{one['variant']}.{name}": float(one[name]) for name in names if one[name] is not None}
        if one["need"]["still"] is not None:
            values[f"{one['variant']}.still_needed"] = float(one["need"]["still"])
        yield Metrics(values)
    yield Params(
        {
            "metric": test.metric,
            "mode": test.mode,
            "min_improvement": test.min_improvement,
            "alpha": test.alpha,
        }
    )
    verdicts = {
        f"evergreen.verdict.{one['variant']}": one["verdict"] for one in judged.details["look"]["challengers"]
    }
    yield Tags(
        {"evergreen.state": judged.state.value, "evergreen.decision": str(judged.decision_id), **verdicts}
    )
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
    low, high = (
        ("-∞" if one["low"] is None else number(one["low"])),
        ("∞" if one["high"] is None else number(one["high"])),
    )
    units = str(one["n_control"]) if one["paired"] else f"{one['n_control']} + {one['n_challenger']}"
    return [
        f"{one['variant']} (version {one['version']})",
        one["verdict"],
        number(one["improvement"]),
        f"[{low}, {high}]",
        number(one["control"]),
        number(one["challenger"]),
        units,
        _needed(one["need"]),
    ]


def _needed(need: Mapping[str, Any]) -> str:
    return number(None) if need["still"] is None else f"{need['still']} {need.get('what', 'units')}"


def _alpha_line(test: LiveTest) -> str:
    return (
        f"The sequence may be looked at at any time: it is ever wrong with probability at most {test.alpha_each:g}. "
        f"An improvement of {test.effect:g} is worth finding."
    )
