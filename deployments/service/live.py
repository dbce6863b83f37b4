"""What is served at this moment: one frozen picture, replaced as a whole."""

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
"""Forms in which a model's own code answers (`CompiledModel.form`): nobody knows how long that takes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedVersion:
    """A version that passed its smoke test.

    Attributes
    ----------
    number : int
        Its number in the registry.
    model : CompiledModel
        What answers.
    threshold : float
        Where its scores become decisions (binary).
    classes : tuple
        In the order of its scores; empty where there are none.
    since : datetime
        When it was loaded.
    """

    number: int
    model: CompiledModel
    threshold: float
    classes: tuple[Any, ...]
    since: datetime


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedArm:
    """A variant with the versions that answer for it, and their weights.

    Attributes
    ----------
    variant : Variant
        The variant.
    members : tuple of (ServedVersion, float)
        Who answers for it.
    threshold : float
        Where an ensemble's scores become decisions (binary): the champion's.
    """

    variant: Variant
    members: tuple[tuple[ServedVersion, float], ...]
    threshold: float = 0.5

    @property
    def version(self) -> int | None:
        """The one version that answers; None for an ensemble."""
        return self.members[0][0].number if len(self.members) == 1 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Live:
    """All that a request needs; requests in flight keep the picture they began with.

    Attributes
    ----------
    champion : ServedVersion
        What answers, unless the plan says otherwise.
    traffic : TrafficState
        Who answers whom, and why.
    arms : mapping of str to Arm
        By the variant's name; a variant that cannot answer is not among them, and the champion answers for it.
    assigner : Assigner
        Of the plan.
    compiled : bool
        Whether all who answer are compiled: then a few rows take microseconds.
    """

    champion: ServedVersion
    traffic: TrafficState
    arms: Mapping[str, ServedArm]
    assigner: Assigner = field(init=False)
    compiled: bool = field(init=False)

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

    @property
    def numbers(self) -> dict[str, int]:
        """Versions that are served, by the name of the variant (and ``variant/version`` in an ensemble)."""
        found = {}
        for name, arm in self.arms.items():
            for version, _ in arm.members:
                found[name if len(arm.members) == 1 else f"{name}/{version.number}"] = version.number
        return found


@dataclass(frozen=True, kw_only=True)
class RefusedVersion:
    """A version that was not taken.

    Attributes
    ----------
    version : int
        Its number.
    role : str
        What it was wanted for: ``champion``, or the name of a variant.
    why : str
        What went wrong, as anybody may know it: without addresses, paths, and values of any row.
    detail : str
        The same for who operates the service, without credentials.
    at : datetime
        When.
    times : int
        How often in a row, since it is wanted.
    """

    version: int
    role: str
    why: str
    detail: str
    at: datetime
    times: int = 1


@dataclass(kw_only=True, eq=False)
class ServedModel:
    """One model of the service: its configuration, and the picture that is live.

    Attributes
    ----------
    config : ModelConfig
        Its configuration.
    live : Live | None
        Assigned by the follower alone, in one step; None until a version was taken.
    aliases : dict of str to int
        As the registry had them last.
    refused : tuple of Refusal
        Versions that are wanted and were not taken.
    registry_trouble : str | None
        Why the registry cannot be asked; None while it answers.
    away_since : datetime | None
        Since when it does not.
    no_champion : bool
        True while the registry answers that there is no @champion.
    from_cache : bool
        True while what is live was begun from the copy on disk, and the registry has not confirmed it.
    """

    config: ModelConfig
    live: Live | None = None
    aliases: dict[str, int] = field(default_factory=dict)
    refused: tuple[RefusedVersion, ...] = ()
    registry_trouble: str | None = None
    away_since: datetime | None = None
    no_champion: bool = False
    from_cache: bool = False

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
        if self.registry_trouble:
            return f"the registry {self.registry_trouble}."
        if self.no_champion:
            return "the registry has no @champion of it. Promote a version ('evergreen promote')."
        return "the registry is being asked, or the version is being loaded."

    @property
    def registry(self) -> str:
        """What is to be said of the registry: that it answers, and has no @champion, or does not answer."""
        return self.registry_trouble or ("answers, without @champion" if self.no_champion else "answers")
