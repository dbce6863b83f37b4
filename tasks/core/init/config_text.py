"""The text of a proposed configuration: YAML in which every key says why it is there."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from evergreen.tasks.core.init.proposal import Proposal
from evergreen.tasks.core.init.windows import ProposedKey

WIDTH = 108
_RANKER = """\
    # A ranker that learns the order within a group (pip install lightgbm):
    # - name: lambdarank
    #   estimator: lightgbm.LGBMRanker
    #   params: {n_estimators: 150, learning_rate: 0.05, num_leaves: 31}
"""


def render_config(
    proposal: Proposal, *, head: str, model: str, why_problem: str, data: Iterable[ProposedKey]
) -> str:
    """Return the YAML text of a proposal.

    Parameters
    ----------
    proposal : Proposal
        What is proposed.
    head : str
        What was looked at, one sentence.
    model : str
        Registered model name.
    why_problem : str
        Why the problem is of its kind.
    data : iterable of Entry
        Keys of the section ``data``: source, target, clock and the like.
    """
    sections: dict[str, list[ProposedKey]] = {"data": [*data, *_columns(proposal)]}
    for entry in proposal.entries:
        section, _, key = entry.key.partition(".")
        sections.setdefault(section, []).append(ProposedKey(key=key, value=entry.value, why=entry.why))
    parts = [
        comment(head + " Keys that are not here have their defaults (base.yaml).") + _warnings(proposal),
        _entry(ProposedKey(key="model", value=model))
        + _entry(ProposedKey(key="problem", value=proposal.problem, why=why_problem)),
        *(_section(name, entries) for name, entries in sections.items()),
        _training(proposal),
    ]
    return "\n".join(parts)


def comment(text: str, *, indent: int = 0) -> str:
    r"""Return text as comment lines.

    >>> comment("why", indent=2)
    '  # why\n'
    """
    lead = " " * indent + "# "
    return "".join(
        f"{line}\n" for line in textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=lead)
    )


def to_yaml(values: Mapping[str, Any], *, indent: int = 0) -> str:
    """Return a mapping as YAML lines, indented; names and texts are quoted where YAML needs it."""
    return "".join(textwrap.indent(_dump(key, value), " " * indent) for key, value in values.items())


def _dump(key: str, value: Any) -> str:
    """Return one key: lists in a row, mappings line by line."""
    flow = None if isinstance(value, list) else False
    lines = yaml.safe_dump(
        [value] if flow is None else {key: value},
        sort_keys=False,
        allow_unicode=True,
        width=WIDTH,
        default_flow_style=flow,
    )
    if flow is None:
        name = yaml.safe_dump(key, allow_unicode=True).removesuffix("...\n").strip()
        if len(name) + len(lines) <= WIDTH and lines.count("\n") == 1:
            return f"{name}: {lines.removeprefix('- ')}"
        return f"{name}:\n" + textwrap.indent(lines.removeprefix("- "), "  ")
    return lines


def _warnings(proposal: Proposal) -> str:
    return "".join(comment(f"LOOK AT: {reason.message}") for reason in proposal.warnings)


def _columns(proposal: Proposal) -> list[ProposedKey]:
    exclude = [
        ProposedKey(
            key="exclude",
            value=proposal.exclude,
            why="Never used as features, each with the reason. Delete a line to use its column (and add it below).",
        )
    ]
    kinds = {"numeric": proposal.numeric, "categorical": proposal.categorical}
    return [
        *(exclude if proposal.exclude else []),
        *(ProposedKey(key=kind, value=list(names), why=_KINDS[kind]) for kind, names in kinds.items()),
    ]


_KINDS = {
    "numeric": "Features that are numbers.",
    "categorical": "Features that are categories; move numbers that only name something here.",
}


def _section(name: str, entries: Iterable[ProposedKey]) -> str:
    return f"{name}:\n" + "".join(_entry(entry, indent=2) for entry in entries)


def _entry(entry: ProposedKey, *, indent: int = 0) -> str:
    return (comment(entry.why, indent=indent) if entry.why else "") + to_yaml(
        {entry.key: entry.value}, indent=indent
    )


def _training(proposal: Proposal) -> str:
    why = "They compete in cross-validation; the first wins unless a later one is significantly better."
    listed = yaml.safe_dump(proposal.candidates, sort_keys=False, width=WIDTH, default_flow_style=None)
    ranker = _RANKER if proposal.problem == "ranking" else ""
    return (
        "training:\n" + comment(why, indent=2) + "  candidates:\n" + textwrap.indent(listed, "    ") + ranker
    )
