"""What is served at this moment: one frozen object, replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.serving.compile import CompiledModel
from evergreen.tasks.core.serving.signature import Signature
from evergreen.tasks.core.traffic.assign import Assigner
from evergreen.tasks.core.traffic.plan import TrafficPlan
from evergreen.tasks.core.traffic.state import TrafficState
from evergreen.tasks.core.traffic.variant import Role, Variant

_SLOW_FORMS = ("frame", "estimator on arrays")
"""Forms in which a model's own code answers (`CompiledModel.form`); it may take any time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedVersion:
    """A version that passed its smoke test."""

    number: int
    """Its number in the registry."""
    model: CompiledModel
    """The compiled model that answers."""
    threshold: float
    """Where its scores become decisions (binary)."""
    classes: tuple[Any, ...]
    """In the order of its scores; empty where there are none."""
    since: datetime
    """When it was loaded."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedArm:
    """A variant with the versions that answer for it, and their weights."""

    variant: Variant
    members: tuple[tuple[ServedVersion, float], ...]
    """The versions that answer, and their weights."""
    threshold: float = 0.5
    """Where an ensemble's scores become decisions (binary): the champion's."""

    @property
    def version(self) -> int | None:
        """The one version that answers; None for an ensemble."""
        return self.members[0][0].number if len(self.members) == 1 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Live:
    """All that a request needs; requests in flight keep the one they began with."""

    champion: ServedVersion
    """What answers, unless the plan says otherwise."""
    traffic: TrafficState
    """Who answers whom, and why."""
    arms: Mapping[str, ServedArm]
    """By the variant's name; a variant that cannot answer is not among them, and the champion answers for it."""
    assigner: Assigner = field(init=False)
    """Routes rows by the plan."""
    compiled: bool = field(init=False)
    """Whether all who answer are compiled: then a few rows take microseconds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "assigner", Assigner(self.traffic.plan))
        answering = [arm for arm in self.arms.values() if arm.variant.role is not Role.SHADOW]
        forms = {version.model.form for arm in answering for version, _ in arm.members}
        object.__setattr__(self, "compiled", not forms & {*_SLOW_FORMS})

    @property
    def plan(self) -> TrafficPlan:
        """Who answers whom."""
        return self.traffic.plan

    @property
    def signature(self) -> Signature:
        """What requests are checked against: the champion's."""
        return self.champion.model.signature

    def serves(self, champion: ServedVersion, traffic: TrafficState, arms: Mapping[str, ServedArm]) -> bool:
        """Return whether a champion, traffic and arms are those that are live."""
        same = self.champion is champion and self.traffic is traffic
        return same and _members(self.arms) == _members(arms)

    @property
    def numbers(self) -> dict[str, int]:
        """Versions that are served, by the name of the variant (and ``variant/version`` in an ensemble)."""
        return {
            name if len(members) == 1 else f"{name}/{number}": number
            for name, members in _members(self.arms).items()
            for number in members
        }


def _members(arms: Mapping[str, ServedArm]) -> dict[str, list[int]]:
    return {name: [version.number for version, _ in arm.members] for name, arm in arms.items()}


@dataclass(frozen=True, kw_only=True)
class RefusedVersion:
    """A version that was refused."""

    version: int
    """Its number in the registry."""
    role: str
    """What it was wanted for: ``champion``, or the name of a variant."""
    why: str
    """What went wrong, for clients: without addresses, paths, and values of any row."""
    detail: str
    """The same for the operators, without credentials."""
    at: datetime
    """When it was refused last."""
    times: int = 1
    """How often in a row."""


@dataclass(kw_only=True, eq=False)
class ServedModel:
    """One model of the service: its configuration, and what is live."""

    config: ModelConfig
    """Its configuration."""
    live: Live | None = None
    """Assigned by the alias watcher alone, in one step; None until a version was loaded."""
    aliases: dict[str, int] = field(default_factory=dict)
    """As the registry had them last."""
    refused: tuple[RefusedVersion, ...] = ()
    """Versions that are wanted and were refused."""
    registry_error: str | None = None
    """Why the registry does not answer; None while it does."""
    away_since: datetime | None = None
    """Since when it does not."""
    no_champion: bool = False
    """True while the registry answers that there is no @champion."""
    from_cache: bool = False
    """True while what is live was begun from the copy on disk, and the registry has not confirmed it."""

    @property
    def name(self) -> str:
        """Registered model name."""
        return self.config.model

    @property
    def waits_for(self) -> str | None:
        """Why there is nothing to answer with yet; None when there is."""
        if self.live is not None:
            return None
        if self.refused:
            return f"version {self.refused[0].version} was refused ({self.refused[0].why})."
        if self.registry_error:
            return f"the registry {self.registry_error}."
        if self.no_champion:
            return "the registry has no @champion of it. Promote a version ('evergreen promote')."
        return "the registry is being asked, or the version is being loaded."

    @property
    def registry(self) -> str:
        """Whether the registry answers, and has a @champion."""
        return self.registry_error or ("answers, without @champion" if self.no_champion else "answers")
