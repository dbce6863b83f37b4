"""The text of a proposed configuration: YAML in which every key says why it is there."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import replace
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
        Which rows were inspected, one sentence.
    model : str
        Registered model name.
    why_problem : str
        Why the problem is of its kind.
    data : iterable of ProposedKey
        Keys of the section ``data``: source, target, clock and the like.
    """
    sections: dict[str, list[ProposedKey]] = {"data": [*data, *_columns(proposal)]}
    for entry in proposal.entries:
        section, _, key = entry.key.partition(".")
        sections.setdefault(section, []).append(replace(entry, key=key))
    warnings = [comment(f"LOOK AT: {reason.message}") for reason in proposal.warnings]
    return "\n".join(
        [
            comment(head + " Keys that are not here have their defaults (base.yaml).") + "".join(warnings),
            _lines([ProposedKey("model", model), ProposedKey("problem", proposal.problem, why_problem)]),
            *(f"{name}:\n{_lines(keys, indent=2)}" for name, keys in sections.items()),
            _training(proposal),
        ]
    )


def comment(text: str, *, indent: int = 0) -> str:
    r"""Return text as comment lines; an empty one gives none.

    >>> comment("why", indent=2)
    '  # why\n'
    """
    lead = " " * indent + "# "
    lines = textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=lead)
    return "".join(f"{line}\n" for line in lines)


def to_yaml(values: Mapping[str, Any], *, indent: int = 0) -> str:
    """Return a mapping as indented YAML lines; names and texts are quoted where YAML needs it."""
    return "".join(textwrap.indent(_dump(key, value), " " * indent) for key, value in values.items())


def _dump(key: str, value: Any) -> str:
    """Return one key: lists in a row, mappings line by line."""
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": WIDTH}
    if not isinstance(value, list):
        return str(yaml.safe_dump({key: value}, default_flow_style=False, **options))
    lines = yaml.safe_dump([value], default_flow_style=None, **options)
    name = yaml.safe_dump(key, allow_unicode=True).removesuffix("...\n").strip()
    if len(name) + len(lines) <= WIDTH and lines.count("\n") == 1:
        return f"{name}: {lines.removeprefix('- ')}"
    return f"{name}:\n" + textwrap.indent(lines.removeprefix("- "), "  ")


def _columns(proposal: Proposal) -> list[ProposedKey]:
    why = "Never used as features, each with the reason. Delete a line to use its column (and add it below)."
    codes = "Features that are categories; move numbers that only name something here."
    return [
        *([ProposedKey("exclude", proposal.exclude, why)] if proposal.exclude else []),
        ProposedKey("numeric", list(proposal.numeric), "Features that are numbers."),
        ProposedKey("categorical", list(proposal.categorical), codes),
    ]


def _lines(keys: Iterable[ProposedKey], *, indent: int = 0) -> str:
    """Return keys as YAML lines, each after a comment that says why it is there."""
    text = ""
    for key in keys:
        text += comment(key.why, indent=indent) + to_yaml({key.key: key.value}, indent=indent)
    return text


def _training(proposal: Proposal) -> str:
    why = "They compete in cross-validation; the first wins unless a later one is significantly better."
    listed = yaml.safe_dump(proposal.candidates, sort_keys=False, width=WIDTH, default_flow_style=None)
    ranker = _RANKER if proposal.problem == "ranking" else ""
    recipes = textwrap.indent(listed, "    ") + ranker
    return f"training:\n{comment(why, indent=2)}  candidates:\n{recipes}"
