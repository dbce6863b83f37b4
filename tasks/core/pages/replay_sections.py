"""The parts of the replay page that are no plot: the card, the table, decisions, the search and notes, as HTML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from tasks.core.drift.phrases import listed, short_time
from tasks.core.pages.replay_phrases import NONE, headline, number, times
from tasks.core.pages.replay_search import ranked, search_headline, told_of
from tasks.core.pages.replay_table import Cell, policy_table
from tasks.core.pages.replayed import UNGOVERNED, Replayed, decided
from tasks.core.pages.style import section

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


def card(told: Replayed) -> str:
    """Return the card with the sentences that matter and the facts beside them."""
    said = "".join(f'<p class="what">{escape(line)}</p>' for line in headline(told))
    first, last = told.windows[0], told.windows[-1]
    best, subject = told.best, told.subject
    facts = [
        ("Windows", f"{len(told.windows):,}, {short_time(first['from'])} to {short_time(last['to'])}"),
        ("First model trained at", short_time(told.start)),
        ("Metric", f"{told.metric}, {told.direction}"),
        *([("Best", f"{best['policy']}, {number(best['mean'])}")] if best else []),
        *([(str(subject["policy"]), _effort(subject))] if subject and subject is not best else []),
    ]
    rest = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<div class="card">{said}<dl class="facts">{rest}</dl></div>'


def table_section(told: Replayed) -> str:
    """Return the table of policies, sorted by a click."""
    head, lines = policy_table(told)
    names = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>" for line in lines)
    table = f'<table class="sortable"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>'
    return section("Policies", f'<div class="scroll">{table}</div>', note=TABLE_NOTE)


def decision_section(told: Replayed) -> str:
    """Return what each governed policy decided, folded up; an empty text when none decides."""
    parts = [_decisions(one) for one in told.policies if one["policy"] not in UNGOVERNED and one["decisions"]]
    note = "One decision after each window; neighbours that are held for the same reason are told as one."
    return section("Decisions", *parts, note=note) if parts else ""


def search_section(search: Mapping[str, Any], *, sign: int, plot: str) -> str:
    """Return what a search found: the sentence, the plot, and the lines to paste for each chosen setting."""
    parts = [plot]
    for one in ranked(search, sign=sign):
        parts += [f"<p>{escape(told_of(one))}</p>", f"<pre>{escape(str(one['yaml']))}</pre>"]
    return section("Search for a policy", *parts, note=search_headline(search, sign=sign))


def notes_section(told: Replayed) -> str:
    """Return the notes; an empty text without any."""
    items = "".join(f"<li>{escape(str(note['message']))}</li>" for note in told.notes)
    return section("Notes", f"<ul>{items}</ul>") if items else ""


def decision_rows(policy: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield when, outcome, causes, end and why (a line a reason); neighbours that say the same are joined."""
    for _, group in groupby(decided(policy), key=lambda pair: _gist(pair[1])):
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
    rows = list(decision_rows(policy))
    body = "".join(_decision(row) for row in rows)
    head = "".join(f"<th>{name}</th>" for name in ("after window", "outcome", "causes", "ended", "why"))
    table = f'<table class="decisions"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    said = f"{policy['policy']}: {_effort(policy)}, {policy['alarms']:,} alarm{'' if policy['alarms'] == 1 else 's'}"
    return f'<details><summary>{escape(said)}</summary><div class="scroll">{table}</div></details>'


def _decision(row: Sequence[str]) -> str:
    cells = [f"<td>{escape(cell).replace(chr(10), '<br>')}</td>" for cell in row]
    if row[1] == "start":
        cells[1] = '<td class="start">start</td>'
    return f"<tr>{''.join(cells)}</tr>"


def _effort(policy: Mapping[str, Any]) -> str:
    return f"{times(policy['retrainings'])}, {policy['promotions']:,} promoted, {policy['refused']:,} refused"


def _cell(cell: Cell) -> str:
    key = cell.text if cell.value is None else "" if math.isnan(cell.value) else f"{cell.value:.12g}"
    note = f"<br><small>{escape(cell.note)}</small>" if cell.note else ""
    return f'<td data-value="{escape(key)}">{escape(cell.text)}{note}</td>'
