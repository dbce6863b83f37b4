"""A replay for the places where it is read: markdown and a table for Prefect, items for MLflow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import chain, count, groupby
from typing import Any

from evergreen.tasks.core.drift.types import listed, short_time
from evergreen.tasks.core.errors import counted
from evergreen.tasks.core.log_items import Json, LogItem, Metrics, Params, Text
from evergreen.tasks.core.reports import html
from evergreen.tasks.core.reports.html import markdown_table, scrolled, section
from evergreen.tasks.core.reports.monitored_model import real, rounded
from evergreen.tasks.core.reports.replay_summary import (
    COUNTS,
    NONE,
    UNCONDITIONAL,
    ReplayDocument,
    TableCell,
    decisions_by_window,
    headline,
    name_of,
    number,
    policy_table,
    times,
    values_of,
)

# What a search for a policy found, for people: which settings to paste, and how they did on the part not seen.


Search = Mapping[str, Any]


def search_headline(search: Search, *, sign: int) -> str:
    """Return what came of it in a sentence or two."""
    tried = sum(one["overlay"] is not None for one in search["trials"])
    chosen = ranked(search, sign=sign)
    if not chosen:
        return (
            f"{tried} settings were tried on the first part of history; none is on the front of quality and "
            "retrainings, so there is nothing to paste."
        )
    first, configured = chosen[0], _configured(search)
    many = "one is" if len(chosen) == 1 else f"{len(chosen)} are"
    text = (
        f"{tried} settings were tried on the first part of history; {many} on the front. Best on the part not seen "
        f"(from {short_time(search['unseen_from'])}): {first['policy']}, {_mean(first)}"
    )
    if configured is None or first["unseen_part"] is None:
        return f"{text}."
    ahead = sign * (real(first["unseen_part"]["mean"]) - real(configured["unseen_part"]["mean"])) > 0
    return f"{text}; that is {'better' if ahead else 'no better'} than configured, {_mean(configured)} there."


def ranked(search: Search, *, sign: int) -> list[Mapping[str, Any]]:
    """Return the chosen settings, the best on the part not seen first; of equal ones that with fewer retrainings."""

    def place(one: Mapping[str, Any]) -> tuple[float, int]:
        later = one["unseen_part"]
        mean = real(later["mean"]) if later else math.nan
        return (-sign * mean if math.isfinite(mean) else math.inf, later["retrainings"] if later else 0)

    return sorted(search["chosen"], key=place)


def policy_yaml(search: Search, *, sign: int) -> str:
    """Return the lines to paste: the best chosen setting as it is, the others commented out below it."""
    lines = [f"# {search_headline(search, sign=sign)}"]
    for place, one in enumerate(ranked(search, sign=sign)):
        lines += ["", f"# {describe_setting(one)}"]
        lines += [line if place == 0 else f"# {line}" for line in str(one["yaml"]).splitlines()]
    return "\n".join(lines) + "\n"


def describe_setting(one: Mapping[str, Any]) -> str:
    """Return how a chosen setting did on both parts."""
    first = one["first_part"]
    tried = f"{one['policy']}: {first['metric']} {number(first['mean'])} with {times(first['retrainings'])}"
    return f"{tried} where it was tried, {_mean(one)}{' on the part not seen' if one['unseen_part'] else ''}"


def search_markdown(search: Search, *, sign: int) -> list[str]:
    """Return the lines of its section."""
    lines = ["", "## Search", "", search_headline(search, sign=sign)]
    if search["chosen"]:
        lines += ["", "```yaml", *policy_yaml(search, sign=sign).splitlines()[2:], "```"]
    return lines


def _configured(search: Search) -> Mapping[str, Any] | None:
    unseen: Sequence[Mapping[str, Any]] = search["unseen"]
    return next(({"unseen_part": one} for one in unseen if one["policy"] == "configured"), None)


def _mean(one: Mapping[str, Any]) -> str:
    later = one["unseen_part"]
    return f"{number(later['mean'])} with {times(later['retrainings'])}" if later else "not confirmed"


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
        `evergreen.tasks.core.replay.results.ReplayResult.to_dict`, with ``model``, ``start`` and ``clock``.
    run_url : str, optional
        The run in MLflow that holds the page.
    search : mapping, optional
        `evergreen.tasks.core.replay.search.SearchResult.to_dict`.
    """
    document = ReplayDocument.from_dict(result)
    head, lines = policy_table(document)
    parts = [f"# Replay of {document.model}", "", " ".join(headline(document)), ""]
    parts += [*markdown_table(head, [[cell.line for cell in line] for line in lines]), ""]
    parts += [_means(document), "", "## Quality against retrainings", ""]
    columns = ("policy", "retrainings", document.metric, "gap to the best", "front")
    parts += [*markdown_table(columns, _front(document)), ""]
    parts += ["Front: no other policy is better with as few retrainings."]
    if search is not None:
        parts += search_markdown(search, sign=document.sign)
    if document.notes:
        parts += ["", "## Notes", "", *(f"- {note['message']}" for note in document.notes)]
    if run_url:
        parts += ["", f"[{PAGE} in MLflow]({run_url})"]
    return "\n".join(map(_harmless, parts)) + "\n"


def replay_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a flat row for each policy and the baseline, for a table artifact; numbers have six digits."""
    document = ReplayDocument.from_dict(result)
    front = {one["policy"] for one in document.pareto if one["front"]}
    rows = []
    for one in document.everyone:
        (low, high), worst = one["mean_interval"], one["worst_window"]
        plain = {
            "policy": name_of(document, one),
            "metric": document.metric,
            "mean": one["mean"],
            "low": low,
            "high": high,
            "accuracy": one["accuracy"],
            "worst": one["worst"],
            "worst_from": worst["from"],
            "worst_to": worst["to"],
            "windows": len(one["windows"]),
            "undefined": one["undefined"],
            **{
                name: None if one is document.baseline else one[name] for name in (*COUNTS, "seconds", "rows")
            },
            "regret": one["regret"],
            "front": one is not document.baseline and one["policy"] in front,
        }
        rows.append({name: rounded(value, digits=6) for name, value in plain.items()})
    return rows


def replay_items(
    result: Mapping[str, Any], page: str, search: Mapping[str, Any] | None = None
) -> Iterator[LogItem]:
    """Describe what is logged of a replay: numbers of each policy, its metric by window, documents and the page.

    Parameters
    ----------
    page : str
        The interactive page (`evergreen.tasks.io.replay_pareto.draw_replay_page`).
    search : mapping, optional
        `evergreen.tasks.core.replay.search.SearchResult.to_dict`; then the lines to paste are logged, too.
    """
    document = ReplayDocument.from_dict(result)
    policies = ",".join(str(one["policy"]) for one in document.policies)
    params = {"policies": policies, "start": document.start, "metric": document.metric}
    yield Params({**params, "windows": len(document.windows)})
    names = legal_names([str(one["policy"]) for one in document.everyone])
    for one, plain in zip(document.everyone, names, strict=True):
        values = {f"{plain}_{name}": real(one[name]) for name in _NUMBERS}
        yield Metrics({name: value for name, value in values.items() if math.isfinite(value)})
        series = f"{plain}_{legal_names([document.metric])[0]}_by_window"
        for step, value in enumerate(values_of(one), start=1):
            if math.isfinite(value):
                yield Metrics({series: float(value)}, step=step)
    yield Json(DOCUMENT, dict(result))
    yield Text(PAGE, page)
    yield Text(SUMMARY, replay_markdown(result, search=search))
    if search is not None:
        yield Text(LINES, policy_yaml(search, sign=document.sign))
        yield Json(SEARCH, dict(search))


def legal_names(names: Sequence[str]) -> list[str]:
    """Return names that MLflow accepts for metrics, still all different.

    >>> legal_names(["periodic:30d", "ndcg@3", "a:b", "a@b"])
    ['periodic_30d', 'ndcg_3', 'a_b', 'a_b_2']
    """
    legal: list[str] = []
    for name in names:
        plain = re.sub(r"[^0-9A-Za-z_.-]+", "_", name)
        legal.append(
            next(one for one in chain([plain], (f"{plain}_{n}" for n in count(2))) if one not in legal)
        )
    return legal


def _means(document: ReplayDocument) -> str:
    many = len(document.windows)
    undefined = any(one["undefined"] for one in document.everyone)
    left_out = " Undefined windows are left out of each mean." if undefined else ""
    return (
        f"Means over {counted(many, 'window')}; {document.direction}.{left_out} Regret: behind the "
        "best policy of this run, in hindsight."
    )


def _front(document: ReplayDocument) -> list[tuple[str, ...]]:
    """Return the lines of the Pareto table, cheapest first."""
    return [
        (
            one["policy"],
            f"{one['retrainings']:,}",
            number(one["quality"]),
            number(one["gap"]),
            "yes" if one["front"] else "",
        )
        for one in sorted(document.pareto, key=lambda one: one["retrainings"])
    ]


def _harmless(line: str) -> str:
    r"""Take away what markdown would pass on as HTML.

    >>> _harmless("<b>: p < 0.05")
    '\\<b>: p < 0.05'
    """
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", line)


# The parts of the replay page that are no plot: the card, the table, decisions, the search and notes, as HTML.


TABLE_NOTE = (
    "Click a heading to sort. Mean: over the windows where the metric is defined, with an interval that allows for "
    "neighbouring windows being alike. Refused: retrainings whose model the gate or the challenge turned down. "
    "Regret: behind the best policy of this run, known only in hindsight."
)
SORTER = """
document.querySelectorAll("table.sortable th button").forEach(function(button){
  button.addEventListener("click",function(){
    var head=button.parentNode,place=head.cellIndex,body=head.closest("table").tBodies[0];
    var way=head.getAttribute("aria-sort")==="ascending"?-1:1;
    head.parentNode.querySelectorAll("th").forEach(function(one){one.removeAttribute("aria-sort")});
    head.setAttribute("aria-sort",way===1?"ascending":"descending");
    function key(row){return row.cells[place].dataset.value}
    Array.from(body.rows).sort(function(a,b){
      var x=key(a),y=key(b);
      if(x===""||y==="")return (x==="")-(y==="");
      return way*(isNaN(x)||isNaN(y)?x.localeCompare(y):x-y);
    }).forEach(function(row){body.appendChild(row)});
  });
});
"""
STYLE = """
table.sortable{font-size:.88rem}table.sortable th,table.sortable td{padding:.35rem .4rem}
table.sortable td{white-space:nowrap;font-variant-numeric:tabular-nums}small{color:var(--soft)}
th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:left;
white-space:nowrap;text-decoration:underline dotted;text-underline-offset:3px}
th[aria-sort=ascending] button:after{content:" ↑"}th[aria-sort=descending] button:after{content:" ↓"}
pre{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:.8rem 1rem;overflow-x:auto;
font-size:.88rem;line-height:1.45}
.decisions td{white-space:nowrap}.decisions td:nth-child(3){white-space:normal;min-width:9rem}
.decisions td:last-child{white-space:normal;min-width:22rem}
details{border-bottom:1px solid var(--rule)}summary{font-weight:600}.start{font-weight:600;color:var(--blue)}
"""


def card(document: ReplayDocument) -> str:
    """Return the card with the sentences that matter and the facts beside them."""
    text = "".join(f'<p class="what">{escape(line)}</p>' for line in headline(document))
    first, last = document.windows[0], document.windows[-1]
    best, subject = document.best, document.subject
    facts = [
        ("Windows", f"{len(document.windows):,}, {short_time(first['from'])} to {short_time(last['to'])}"),
        ("First model trained at", short_time(document.start)),
        ("Metric", f"{document.metric}, {document.direction}"),
        *([("Best", f"{best['policy']}, {number(best['mean'])}")] if best else []),
        *([(str(subject["policy"]), _effort_text(subject))] if subject and subject is not best else []),
    ]
    return f'<div class="card">{text}{html.fact_list(facts)}</div>'


def table_section(document: ReplayDocument) -> str:
    """Return the table of policies, sorted by a click."""
    head, lines = policy_table(document)
    buttons = (f'<button type="button">{escape(name)}</button>' for name in head)
    names = [html.Html(f'<th scope="col">{button}</th>') for button in buttons]
    table = html.table(names, [[_cell(one) for one in line] for line in lines], css="sortable")
    return section("Policies", scrolled(table), note=TABLE_NOTE)


def decision_section(document: ReplayDocument) -> str:
    """Return what each governed policy decided, folded up; an empty text when none decides."""
    policies = [one for one in document.policies if one["policy"] not in UNCONDITIONAL and one["decisions"]]
    note = "One decision after each window; neighbours that are held for the same reason are told as one."
    return section("Decisions", *map(_decisions, policies), note=note) if policies else ""


def search_section(search: Mapping[str, Any], *, sign: int, plot: str) -> str:
    """Return what a search found: the sentence, the plot, and the lines to paste for each chosen setting."""
    parts = [plot]
    for one in ranked(search, sign=sign):
        parts += [f"<p>{escape(describe_setting(one))}</p>", f"<pre>{escape(str(one['yaml']))}</pre>"]
    return section("Search for a policy", *parts, note=search_headline(search, sign=sign))


def notes_section(document: ReplayDocument) -> str:
    """Return the notes; an empty text without any."""
    items = "".join(f"<li>{escape(str(note['message']))}</li>" for note in document.notes)
    return section("Notes", f"<ul>{items}</ul>") if items else ""


def decision_rows(policy: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield when, outcome, causes, end and why (a line a reason); neighbours that say the same are joined."""
    for _, group in groupby(decisions_by_window(policy), key=lambda pair: _gist(pair[1])):
        run = list(group)
        (first, _), (last, decision) = run[0], run[-1]
        when = short_time(last["to"])
        if len(run) > 1:
            when = f"{short_time(first['to'])} to {when} ({len(run)} windows)"
        causes = [" ".join(filter(None, (one["trigger"], one["name"]))) for one in decision["causes"]]
        version = f" (version {decision['version']})" if decision["version"] is not None else ""
        why = "\n".join(str(reason["message"]) for reason in decision["reasons"])
        ended = f"{decision['state']}{version}" if decision["state"] else NONE
        yield when, decision["outcome"], listed(causes) if causes else NONE, ended, why


def _gist(decision: Mapping[str, Any]) -> Any:
    """Return what makes two decisions the same for a reader; a start stands alone."""
    alone = decision["at"] if decision["state"] else ""
    causes = tuple((one["trigger"], one["name"]) for one in decision["causes"])
    return alone, decision["outcome"], causes, tuple(reason["code"] for reason in decision["reasons"])


def _decisions(policy: Mapping[str, Any]) -> str:
    head = ("after window", "outcome", "causes", "ended", "why")
    table = html.table(head, [_decision(row) for row in decision_rows(policy)], css="decisions")
    alarms = f"{policy['alarms']:,} alarm{'' if policy['alarms'] == 1 else 's'}"
    title = escape(f"{policy['policy']}: {_effort_text(policy)}, {alarms}")
    return f"<details><summary>{title}</summary>{scrolled(table)}</details>"


def _decision(row: Sequence[str]) -> list[html.Html]:
    cells = [html.Html(f"<td>{escape(one).replace(chr(10), '<br>')}</td>") for one in row]
    if row[1] == "start":
        cells[1] = html.cell("start", css="start")
    return cells


def _effort_text(policy: Mapping[str, Any]) -> str:
    return f"{times(policy['retrainings'])}, {policy['promotions']:,} promoted, {policy['refused']:,} refused"


def _cell(cell: TableCell) -> html.Html:
    key = cell.text if cell.value is None else "" if math.isnan(cell.value) else f"{cell.value:.12g}"
    note = f"<br><small>{escape(cell.note)}</small>" if cell.note else ""
    return html.Html(f'<td data-value="{escape(key)}">{escape(cell.text)}{note}</td>')
