"""The reference that was frozen with a version: read back for monitoring, and for the grid of the next one."""

from __future__ import annotations

from typing import Any

from tasks.core.drift.reference import Reference
from tasks.core.profiles.grid import Grid
from tasks.core.watching.past import Past
from tasks.io.models import FOLDER, read_documents
from tasks.io.registry import VersionInfo
from tasks.io.setup import Setup
from tasks.io.tracking import open_tracker


def load_reference(setup: Setup, info: VersionInfo) -> tuple[Reference, Past]:
    """Return a version's reference and its own past; an older version's past is empty and says why.

    Raises
    ------
    InputError
        When the version was not registered by Evergreen.
    """
    kept = read_documents(setup, info, ("profile",))["profile"]
    return Reference.from_dict(kept), Past.from_dict(read_past_document(setup, info))


def read_past_document(setup: Setup, info: VersionInfo) -> dict[str, Any] | None:
    """Return ``evergreen/past.json`` of a version; None where it was kept without one."""
    return _read(setup, info, "past")


def earlier_grid(setup: Setup) -> Grid | None:
    """Return the inputs' grid of the champion, else of the newest version; None where there is none to be kept."""
    registry = setup.stores.registry
    champion = registry.aliases(setup.model).get("champion")
    versions = registry.versions(setup.model) if champion is None else []
    if champion is not None:
        versions = [registry.version(setup.model, champion)]
    profile = _read(setup, versions[-1], "profile") if versions else None
    return None if profile is None else Grid.from_dict(profile["inputs"]["grid"])


def _read(setup: Setup, info: VersionInfo, name: str) -> dict[str, Any] | None:
    run_id = info.tags.get("evergreen.run") or info.run_id
    if not run_id:
        return None
    found: dict[str, Any] | None = open_tracker(setup.stores).read_json(run_id, f"{FOLDER}/{name}.json")
    return found
