"""Self-contained HTML pages for reports (no script, no address, readable without a network), and markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b1f23}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{border:1px solid #d0d7de;padding:.3rem .6rem;text-align:left;
vertical-align:top}th{background:#f6f8fa}
.PASS{color:#116329}.FAIL{color:#a40e26;font-weight:600}.INSUFFICIENT,.WARNING{color:#7d4e00;font-weight:600}
"""
_WORDS = {"PASS", "FAIL", "INSUFFICIENT", "WARNING"}


class Html(str):
    """Text that is HTML already, and is not escaped again."""


def page(title: str, parts: Sequence[str], *, style: str = _STYLE, meta: str = "") -> str:
    """Return a whole page from parts that are HTML already."""
    head = f'<meta charset="utf-8">{meta}<title>{escape(title)}</title><style>{style}</style>'
    body = "\n".join([f"<h1>{escape(title)}</h1>", *parts])
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n{body}\n</body></html>\n'


def heading(text: str) -> str:
    """Return a section's heading.

    >>> heading("a < b")
    '<h2>a &lt; b</h2>'
    """
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, css: str = "") -> str:
    """Return a table; cells are plain text or `Html` cells, and the words of a verdict get their colour."""
    head = "".join(name if isinstance(name, Html) else f"<th>{escape(name)}</th>" for name in columns)
    body = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    mark = f' class="{css}"' if css else ""
    return f"<table{mark}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def cell(value: Any, css: str = "") -> Html:
    """Return a cell of a table; what is `Html` already stands as it is."""
    if isinstance(value, Html):
        return value
    text = number(value)
    css = css or (text if text in _WORDS else "")
    mark = f' class="{css}"' if css else ""
    return Html(f"<td{mark}>{escape(text)}</td>")


def fact_list(facts: Sequence[tuple[str, str]]) -> str:
    """Return names and values as the facts of a card."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


def scrolled(wide: str) -> str:
    """Return a table or a chart that scrolls where the page is narrow."""
    return f'<div class="scroll">{wide}</div>'


def markdown_table(head: Sequence[Any], rows: Iterable[Iterable[Any]]) -> list[str]:
    r"""Return the lines of a markdown table.

    >>> markdown_table(("a", "b"), [("x|y", 1)])
    ['| a | b |', '| --- | --- |', '| x\\|y | 1 |']
    """
    lines: list[Iterable[Any]] = [head, ["---"] * len(head), *rows]
    texts = ([str(one).replace("|", "\\|").replace("\n", " ") for one in line] for line in lines)
    return [f"| {' | '.join(line)} |" for line in texts]


def number(value: Any) -> str:
    """Write a number for people: four significant digits, nothing for None.

    >>> number(0.123456), number(None), number("x"), number(12)
    ('0.1235', '', 'x', '12')
    """
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# Colours and shapes of the drift page: light and dark, legible without colour, fit for paper.


_LIGHT = (
    "--paper:#fff;--card:#f6f8fa;--ink:#1b1f23;--soft:#57606a;--rule:#d0d7de;--s0:#eef1f4;--s1:#fde7c2;--s2:#fdb863;"
    "--s3:#e0651b;--s4:#8c2d04;--mark:#111827;--quiet:#7fb3a6;--warning:#c98a00;--drift:#b42318;--blue:#0b6bcb;"
    "--band:#0b6bcb26;--drifted:#b4231818;--hatch:#8b949e;--champion:#7a3ea8;--current:#2f6fb7;--past:#9aa4af"
)
_DARK = (
    "--paper:#0d1117;--card:#161b22;--ink:#e6edf3;--soft:#9aa4af;--rule:#30363d;--s0:#1c232c;--s1:#4d3a1c;--s2:#8f5a12;"
    "--s3:#e0802a;--s4:#ffd9a0;--mark:#f0f6fc;--quiet:#3f8f7d;--warning:#d9a021;--drift:#ff7b6b;--blue:#58a6ff;"
    "--band:#58a6ff30;--drifted:#ff7b6b22;--hatch:#6e7681;--champion:#c297ff;--current:#58a6ff;--past:#6e7681"
)
COLOURS = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    f"@media print{{:root{{color-scheme:light;{_LIGHT}}}}}"
)
MARKS = """
svg text{font-size:12px;fill:var(--ink)}svg .name,svg .kind{text-anchor:end}svg .tick{fill:var(--soft);font-size:11px}
svg .kind,svg .now,svg .head{font-weight:600}svg .head{font-size:15px}
.s0{fill:var(--s0);background:var(--s0)}.s1{fill:var(--s1);background:var(--s1)}.s2{fill:var(--s2);background:var(--s2)}
.s3{fill:var(--s3);background:var(--s3)}.s4{fill:var(--s4);background:var(--s4)}
.hatch{fill:var(--hatch)}svg .void,.l-insufficient{fill:url(#void)}
svg .none{fill:var(--paper);stroke:var(--rule);stroke-width:.5}
.alarm{fill:none;stroke:var(--mark);stroke-width:2}
.warn{fill:none;stroke:var(--mark);stroke-width:1;stroke-dasharray:2 2}
.alarm:focus,.warn:focus{outline:2px solid var(--blue);outline-offset:2px}
.l-quiet{fill:var(--quiet)}.l-warning{fill:var(--warning)}.l-drift{fill:var(--drift)}
.rule{stroke:var(--soft)}.grid{stroke:var(--rule)}.band{fill:var(--band)}.drifted{fill:var(--drifted)}
.begin{fill:var(--drift)}.line{fill:none;stroke:var(--blue);stroke-width:1.8}.guess.line{stroke-dasharray:3 4}
.dot{fill:var(--blue);stroke:var(--paper)}.guess.dot{fill:var(--paper);stroke:var(--blue);stroke-width:1.5}
.reference{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:8 4}
.past{fill:var(--past)}.current{fill:var(--current)}
.champion{stroke:var(--champion);stroke-width:2}svg .flag{fill:var(--champion);font-weight:600}
"""
_PAGE = """
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:74rem;margin:0 auto;padding:1.5rem 1rem 4rem;
color:var(--ink);background:var(--paper)}
h1{font-size:1.5rem;margin:0 0 1rem}h2{font-size:1.15rem;margin:2.2rem 0 .4rem}p{margin:.3rem 0 .8rem;max-width:62rem}
.soft{color:var(--soft)}
.card{background:var(--card);border:1px solid var(--rule);border-left:8px solid var(--soft);border-radius:8px;
padding:1rem 1.2rem}
.card.quiet{border-left-color:var(--quiet)}.card.warning{border-left-color:var(--warning)}
.card.drift{border-left-color:var(--drift)}
.state{font-size:1.3rem;font-weight:700;margin-right:.8rem}.card .what{font-size:1.08rem;margin:.3rem 0}
.facts{display:flex;flex-wrap:wrap;gap:.4rem 2.2rem;margin:.9rem 0 0}.facts div{min-width:7rem}
.facts dt{color:var(--soft);font-size:.82rem}.facts dd{margin:0;font-weight:600}
svg{width:100%;height:auto;display:block}.scroll{overflow-x:auto}.scroll svg{min-width:46rem}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;padding:0;margin:.3rem 0 .5rem;font-size:.86rem;
color:var(--soft)}
.key{display:inline-block;width:15px;height:12px;margin-right:.4rem;vertical-align:-1px;border:1px solid var(--rule)}
.key.alarm{border:2px solid var(--mark)}.key.warn{border:1px dashed var(--mark)}
.key.void{background:repeating-linear-gradient(45deg,var(--hatch) 0 1.6px,var(--s0) 1.6px 5px)}
.key.k-line{border:0;height:3px;background:var(--blue);vertical-align:3px}
.key.k-guess{border:0;border-top:2px dashed var(--blue);height:0;vertical-align:4px}
.key.k-band{background:var(--band)}.key.k-ref{border:0;border-top:2px dashed var(--ink);height:0;vertical-align:4px}
.key.k-drifted{background:var(--drifted)}.key.k-open{border:6px solid transparent;border-top:9px solid var(--drift);
width:0;height:0;vertical-align:-4px}
.key.k-champion{border:0;width:2px;background:var(--champion)}
.pair{display:grid;grid-template-columns:repeat(auto-fill,minmax(25rem,1fr));gap:1rem}
.pair figure{margin:0;border:1px solid var(--rule);border-radius:8px;padding:.6rem .8rem;overflow:hidden}
figcaption{font-size:.86rem;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{border-bottom:1px solid var(--rule);padding:.35rem .6rem;
text-align:left;vertical-align:top}th{color:var(--soft);font-weight:600}td{overflow-wrap:anywhere}
.word-drift,.word-alarm{color:var(--drift);font-weight:600}.word-warning{color:var(--warning);font-weight:600}
summary{cursor:pointer;margin:.8rem 0 .4rem}footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media print{body{max-width:none;padding:0;-webkit-print-color-adjust:exact;print-color-adjust:exact}
figure,.card,tr{break-inside:avoid}h2{break-after:avoid}.scroll{overflow:visible}.scroll svg{min-width:0}}
"""


def document(title: str, parts: Sequence[str]) -> str:
    """Return a whole page in the style of the drift page from parts that are HTML already."""
    meta = '<meta name="viewport" content="width=device-width,initial-scale=1">'
    return page(title, parts, style=f"{COLOURS}{MARKS}{_PAGE}", meta=meta)


def section(title: str, *parts: str, note: str = "") -> str:
    """Return a section with a heading; ``note`` is plain text under it."""
    text = f'<p class="soft">{escape(note)}</p>' if note else ""
    return "\n".join([f"<section><h2>{escape(title)}</h2>{text}", *parts, "</section>"])


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Return a legend of pairs: CSS class of the key, and what it means."""
    keys = "".join(f'<li><i class="key {css}"></i>{escape(word)}</li>' for css, word in items)
    return f'<ul class="legend">{keys}</ul>'
