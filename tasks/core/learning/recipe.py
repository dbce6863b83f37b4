"""The recipe of a version: all that is needed to score with it as it was judged, and to fit it again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from tasks.core.config import ModelConfig
from tasks.core.config.training import Candidate
from tasks.core.learning.threshold import Threshold

HALF = Threshold(value=0.5, method="fixed")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a version came about and how its scores become decisions.

    Attributes
    ----------
    problem : str
        Kind of problem.
    candidate : Candidate | None
        The recipe that won; None for a model trained elsewhere.
    settings : dict
        Parameters a search found.
    classes : tuple
        (negative, positive) for binary, all classes for multiclass, else empty.
    threshold : Threshold
        The decision threshold.
    config_digest : str
        Of the whole configuration at training time.
    """

    problem: str
    candidate: Candidate | None
    settings: dict[str, Any] = field(default_factory=dict)
    classes: tuple[Any, ...] = ()
    threshold: Threshold = HALF
    config_digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "problem": self.problem,
            "candidate": self.candidate.model_dump(mode="json") if self.candidate else None,
            "settings": self.settings,
            "classes": list(self.classes),
            "threshold": asdict(self.threshold),
            "config_digest": self.config_digest,
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Recipe:
        """Return the recipe written by ``to_dict``."""
        candidate = plain["candidate"]
        return cls(
            problem=plain["problem"],
            candidate=Candidate.model_validate(candidate) if candidate else None,
            settings=plain["settings"],
            classes=tuple(plain["classes"]),
            threshold=Threshold(**plain["threshold"]),
            config_digest=plain["config_digest"],
        )


def config_digest(config: ModelConfig) -> str:
    """Return a short hash of a configuration's values."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
