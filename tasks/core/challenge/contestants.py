"""Who meets whom in a challenge, and which twin stands in for a champion that learned from the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.promotion.plan import CANDIDATE, CHALLENGER, CHAMPION
from evergreen.tasks.core.promotion.registry_state import EVALUATED_AS, REJECTED_FOR, VALIDATION_STATUS


@dataclass(frozen=True, kw_only=True)
class Contestants:
    """The two sides of a challenge.

    Attributes
    ----------
    challenger : int
        Version under @challenger.
    champion : int | None
        Version under @champion; None on an empty throne, where the naive baseline defends.
    twin : int | None
        The judged version the champion was refitted from (tag ``evergreen.evaluated_as``): the same recipe
        that never saw the evaluation rows. It stands in for a champion that did.
    """

    challenger: int
    champion: int | None
    twin: int | None = None

    @property
    def defenders(self) -> tuple[int, ...]:
        """Versions that may defend the throne, in order of preference."""
        return tuple(version for version in (self.champion, self.twin) if version is not None)


def choose_contestants(
    *, model: str, aliases: Mapping[str, int], tags: Mapping[int, Mapping[str, str]]
) -> Contestants:
    """Name the challenger and its opponent.

    Parameters
    ----------
    model : str
        Registered model name, for messages.
    aliases : mapping of str to int
        The model's aliases.
    tags : mapping of int to mapping
        Tags by version.

    Raises
    ------
    NotLearnable
        ``rejected``, ``not_validated`` or ``no_challenger`` when nobody passed the gate (``rejected`` also when
        the candidate that was is newer than the challenger);
        ``already_champion`` when the challenger reigns.
    """
    challenger, candidate = aliases.get(CHALLENGER), aliases.get(CANDIDATE)
    if challenger is None or _rejected_since(challenger, candidate, tags):
        raise _no_challenger(model, candidate, tags)
    champion = aliases.get(CHAMPION)
    if challenger == champion:
        raise NotLearnable(
            "already_champion",
            f"Version {challenger} of '{model}' is champion already; train a new candidate.",
        )
    said = tags.get(champion, {}).get(EVALUATED_AS, "") if champion is not None else ""
    twin = int(said) if said.isdecimal() and int(said) in tags else None
    if twin == challenger:
        raise NotLearnable(
            "already_champion",
            f"Version {challenger} of '{model}' reigns already as its refit, version {champion}; "
            "train a new candidate.",
        )
    return Contestants(challenger=challenger, champion=champion, twin=twin)


def _rejected_since(challenger: int, candidate: int | None, tags: Mapping[int, Mapping[str, str]]) -> bool:
    """Tell whether a candidate newer than the challenger was rejected by the gate."""
    if candidate is None or candidate <= challenger:
        return False
    return tags.get(candidate, {}).get(VALIDATION_STATUS) == "rejected"


def _no_challenger(model: str, candidate: int | None, tags: Mapping[int, Mapping[str, str]]) -> NotLearnable:
    if candidate is None:
        return NotLearnable(
            "no_challenger",
            f"'{model}' has no candidate and no challenger. Run 'evergreen train {model}' first.",
        )
    status = tags.get(candidate, {}).get(VALIDATION_STATUS, "pending")
    if status == "rejected":
        why = tags[candidate].get(REJECTED_FOR, "see its validation report")
        return NotLearnable(
            "rejected",
            f"Candidate version {candidate} of '{model}' was rejected by the gate ({why}); nobody may challenge.",
            observed=status,
            limit="approved",
        )
    if status == "approved":
        return NotLearnable(
            "no_challenger",
            f"Candidate version {candidate} of '{model}' is approved but has met the champion already. "
            f"Train a new candidate.",
        )
    return NotLearnable(
        "not_validated",
        f"Candidate version {candidate} of '{model}' has not passed the gate. Run 'evergreen validate {model}'.",
        observed=status,
        limit="approved",
    )
