"""The story the demonstration tells: who is trained when, by which configuration, and what is expected of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TWO_COLUMN_CONFIG = {
    "data": {"numeric": ["card_age_days", "hour"], "categorical": []},
    "training": {
        "candidates": [
            {"name": "stump", "estimator": "sklearn.tree.DecisionTreeClassifier", "params": {"max_depth": 2}}
        ]
    },
    "validation": {"baseline_margin": 0.0},
}
"""A poor configuration: two columns and a tree of two levels."""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One step of the story.

    Attributes
    ----------
    title : str
        What is about to happen.
    flow : str
        ``module:function``.
    parameters : dict
        Beside the model.
    now : str
        The moment that decisions take for now.
    changes : dict
        What this chapter's configuration changes in config/payments.yaml.
    """

    title: str
    flow: str
    parameters: dict[str, Any] = field(default_factory=dict)
    now: str = ""
    changes: dict[str, Any] = field(default_factory=dict)


def _train_to_challenge(who: str, until: str, changes: dict[str, Any] | None = None) -> list[Chapter]:
    """Return the three stages a version goes through."""
    own = changes or {}
    as_of = {"until": until}
    return [
        Chapter(
            title=f"Train {who} (as of {until})",
            flow="evergreen.flows.train:train",
            parameters=as_of,
            changes=own,
            now=until,
        ),
        Chapter(
            title="Pass it through the gate", flow="evergreen.flows.validate:validate", changes=own, now=until
        ),
        Chapter(
            title="Challenge the champion",
            flow="evergreen.flows.challenge:challenge",
            parameters=as_of,
            changes=own,
            now=until,
        ),
    ]


def _retrain(what: str, until: str) -> Chapter:
    """Return a run that a drift event asks for."""
    return Chapter(
        title=f"{what} (as of {until})",
        flow="evergreen.flows.retrain:retrain",
        parameters={"until": until, "trigger": "drift"},
        now=until,
    )


def _monitor(what: str, until: str, *, pages: bool = False) -> Chapter:
    """Return a run of the monitor; Evidently's page costs seconds, so only the last one draws it."""
    return Chapter(
        title=f"Watch it: {what} (to {until})",
        flow="evergreen.flows.monitor:monitor",
        parameters={"until": until},
        now=until,
        changes={} if pages else {"monitoring": {"report_rows": 0}},
    )


STORY = [
    *_train_to_challenge("the first model", "2026-03-16"),
    *_train_to_challenge("a model of two columns", "2026-03-16", TWO_COLUMN_CONFIG),
    _monitor("a quiet stretch", "2026-03-26T12:00"),
    _monitor("one odd day", "2026-03-27T12:00"),
    _monitor("habits change for good", "2026-05-05T12:00"),
    _retrain("The alarm asks for a retraining", "2026-05-05T12:00"),
    _monitor("another wallet spreads", "2026-05-13T12:00", pages=True),
    _retrain("The next alarm asks too soon", "2026-05-13T12:00"),
    Chapter(
        title="Replay what other policies would have done",
        flow="evergreen.flows.replay:replay",
        parameters={
            "policies": "configured,never,every,periodic:30d",
            "since": "2026-03-26",
            "until": "2026-05-14",
        },
        now="2026-05-14",
    ),
    Chapter(
        title="Roll back by hand",
        flow="evergreen.flows.rollback:rollback",
        parameters={"reason": "shown in the demo"},
        now="2026-05-14",
    ),
]
