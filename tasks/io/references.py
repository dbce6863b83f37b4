"""The reference that was frozen with a version: read back for monitoring, and for the grid of the next one."""

from __future__ import annotations

from typing import Any

from tasks.core.drift.past import Past
from tasks.core.drift.reference import Reference
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
    run_id = info.tags.get("evergreen.run") or info.run_id
    found: dict[str, Any] | None = None
    if run_id:
        found = open_tracker(setup.stores).read_json(run_id, f"{FOLDER}/past.json")
    return found
