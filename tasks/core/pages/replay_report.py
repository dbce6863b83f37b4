"""A replay for the places where it is read: markdown and a table for Prefect, items for MLflow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.core.logitems import Json, LogItem, Metrics, Params, Text
from tasks.core.pages.replay_phrases import headline, number
from tasks.core.pages.replay_search import policy_yaml, search_markdown
from tasks.core.pages.replay_table import COUNTS, name_of, policy_table
from tasks.core.pages.replayed import Replayed, values_of
from tasks.core.pages.watched import real

PAGE, DOCUMENT, SUMMARY = "replay.html", "replay.json", "replay.md"
LINES, SEARCH = "policy.yaml", "search.json"
_NUMBERS = ("mean", "worst", "accuracy", *COUNTS, "seconds", "rows", "regret", "undefined")


def replay_markdown(
    result: Mapping[str, Any], *, run_url: str | None = None, search: Mapping[str, Any] | None = None
) -> str:
    """Return the summary for the Prefect UI and the terminal.

    Parameters
    ----------
    result : mapping
        `tasks.core.replay.results.ReplayResult.to_dict`, with ``model``, ``start`` and ``clock``.
    run_url : str, optional
        The run in MLflow that holds the page.
    search : mapping, optional
        `tasks.core.replay.search.SearchResult.to_dict`.
    """
    told = Replayed.of(result)
    head, lines = policy_table(told)
    parts = [f"# Replay of {told.model}", "", " ".join(headline(told)), ""]
    parts += [*_table(head, [[cell.line for cell in line] for line in lines]), ""]
    parts += [
        _means(told),
        "",
        "## Quality against retrainings",
        "",
        *_table(("policy", "retrainings", told.metric, "gap to the best", "front"), _front(told)),
        "",
        "Front: no other policy is better with as few retrainings.",
    ]
    if search is not None:
        parts += search_markdown(search, sign=told.sign)
    if told.notes:
        parts += ["", "## Notes", "", *(f"- {note['message']}" for note in told.notes)]
    if run_url:
        parts += ["", f"[{PAGE} in MLflow]({run_url})"]
    return "\n".join(map(_harmless, parts)) + "\n"


def replay_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a flat row for each policy and the baseline, for a table artifact; numbers have six digits."""
    told = Replayed.of(result)
    front = {one["policy"] for one in told.pareto if one["front"]}
    rows = []
    for one in told.everyone:
        (low, high), worst = one["mean_interval"], one["worst_window"]
        plain = {
            "policy": name_of(told, one), "metric": told.metric, "mean": one["mean"], "low": low, "high": high,
            "accuracy": one["accuracy"], "worst": one["worst"], "worst_from": worst["from"], "worst_to": worst["to"],
            "windows": len(one["windows"]), "undefined": one["undefined"],
            **{name: None if one is told.baseline else one[name] for name in (*COUNTS, "seconds", "rows")},
            "regret": one["regret"], "front": one is not told.baseline and one["policy"] in front,
        }  # fmt: skip
        rows.append({name: _rounded(value) for name, value in plain.items()})
    return rows


def replay_items(
    result: Mapping[str, Any], page: str, search: Mapping[str, Any] | None = None
) -> Iterator[LogItem]:
    """Describe what is logged of a replay: numbers of each policy, its metric by window, documents and the page.

    Parameters
    ----------
    page : str
        The interactive page (`tasks.io.replay_page.draw_replay_page`).
    search : mapping, optional
        `tasks.core.replay.search.SearchResult.to_dict`; then the lines to paste are logged, too.
    """
    told = Replayed.of(result)
    names = [str(one["policy"]) for one in told.policies]
    known = {
        "policies": ",".join(names),
        "start": told.start,
        "windows": len(told.windows),
        "metric": told.metric,
    }
    yield Params(known)
    for one, plain in zip(
        told.everyone, legal_names([str(one["policy"]) for one in told.everyone]), strict=True
    ):
        values = {f"{plain}_{name}": real(one[name]) for name in _NUMBERS}
        yield Metrics({name: value for name, value in values.items() if math.isfinite(value)})
        series = f"{plain}_{legal_names([told.metric])[0]}_by_window"
        for step, value in enumerate(values_of(one), start=1):
            if math.isfinite(value):
                yield Metrics({series: float(value)}, step=step)
    yield Json(DOCUMENT, dict(result))
    yield Text(PAGE, page)
    yield Text(SUMMARY, replay_markdown(result, search=search))
    if search is not None:
        yield Text(LINES, policy_yaml(search, sign=told.sign))
        yield Json(SEARCH, dict(search))


def legal_names(names: Sequence[str]) -> list[str]:
    """Return names that MLflow accepts for metrics, still all different.

    >>> legal_names(["periodic:30d", "ndcg@3", "a:b", "a@b"])
    ['periodic_30d', 'ndcg_3', 'a_b', 'a_b_2']
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^0-9A-Za-z_.-]+", "_", name)
        many, free = 1, plain
        while free in found:
            many += 1
            free = f"{plain}_{many}"
        found.append(free)
    return found


def _means(told: Replayed) -> str:
    many = len(told.windows)
    lost = (
        " Undefined windows are left out of each mean."
        if any(one["undefined"] for one in told.everyone)
        else ""
    )
    said = f"Means over {many:,} window{'' if many == 1 else 's'}; {told.direction}.{lost}"
    return f"{said} Regret: behind the best policy of this run, in hindsight."


def _front(told: Replayed) -> list[list[str]]:
    """Return the lines of the Pareto table, cheapest first."""
    cheapest = sorted(told.pareto, key=lambda one: one["retrainings"])
    return [
        [
            one["policy"],
            f"{one['retrainings']:,}",
            number(one["quality"]),
            number(one["gap"]),
            "yes" if one["front"] else "",
        ]
        for one in cheapest
    ]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *map(_line, lines)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in cells)} |"


def _harmless(line: str) -> str:
    r"""Take away what markdown would pass on as HTML.

    >>> _harmless("<b>: p < 0.05")
    '\\<b>: p < 0.05'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", line)


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
