"""Self-contained HTML pages for reports: no script, no address, readable without a network."""

from __future__ import annotations

from collections.abc import Sequence
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


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page from parts that are HTML already."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
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


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table; cells are plain text, and the words of a verdict get their colour."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "\n".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def number(value: Any) -> str:
    """Write a number for people: four significant digits, nothing for None.

    >>> number(0.123456), number(None), number("x"), number(12)
    ('0.1235', '', 'x', '12')
    """
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(value: Any) -> str:
    text = number(value)
    mark = f' class="{text}"' if text in _WORDS else ""
    return f"<td{mark}>{escape(text)}</td>"
