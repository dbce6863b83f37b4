"""A plan: the frozen description of alias moves, written to the ledger before the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from evergreen.tasks.core.serial import Struct

CANDIDATE = "candidate"
CHALLENGER = "challenger"
CHAMPION = "champion"
FALLBACK = "fallback"
ROLES = (CHAMPION, FALLBACK, CHALLENGER, CANDIDATE)
"""The aliases Evergreen moves; any other alias of a team's own is left alone."""

Action = Literal["set_alias", "delete_alias", "set_tags"]
Kind = Literal["promotion", "rollback", "repair"]


@dataclass(frozen=True, kw_only=True)
class PlanStep:
    """One call to the registry; doing it twice is the same as once."""

    action: Action
    """``set_alias``, ``delete_alias`` (only while the alias still points at ``version``) or ``set_tags``."""
    version: int
    """The version the alias is set to, is taken from, or that is tagged."""
    alias: str | None = None
    """For the two alias actions."""
    tags: dict[str, str] = field(default_factory=dict)
    """For ``set_tags``."""

    def is_done(self, aliases: Mapping[str, int]) -> bool:
        """Return whether the aliases show that the step was done; tags are never known to be."""
        if self.action == "set_alias":
            return aliases.get(self.alias or "") == self.version
        if self.action == "delete_alias":
            return aliases.get(self.alias or "") != self.version
        return False

    def __str__(self) -> str:
        """Return the step as one would say it: ``@champion -> 3``."""
        if self.action == "set_alias":
            return f"@{self.alias} -> {self.version}"
        if self.action == "delete_alias":
            return f"delete @{self.alias} ({self.version})"
        return f"tag {self.version}: " + ", ".join(f"{key}={value}" for key, value in self.tags.items())


@dataclass(frozen=True, kw_only=True)
class Plan(Struct):
    """What is about to happen to the aliases of one model, and why."""

    kind: Kind
    """``promotion``, ``rollback`` or ``repair`` (aliases were changed outside Evergreen)."""
    model: str
    """Registered model name."""
    version: int
    """Champion when the plan is through."""
    expected_champion: int | None
    """Champion when the plan was made; the plan is void when it is another before the first move."""
    before: dict[str, int]
    """The roles' aliases when the plan was made; an abandoned plan returns to them."""
    steps: tuple[PlanStep, ...]
    """In an order in which every prefix leaves a champion that resolves and no wrong fallback."""
    reason: str
    """A sentence for people."""
    evidence: str | None = None
    """Id of the decision (``model/stream/seq``) it rests on."""
    proves: bool = False
    """Whether a smoke test of the new champion has to follow."""
