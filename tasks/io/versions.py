"""Keep a model: its run, its files, its documents, and a registered version with a story in its tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tasks.core.data.rows import Rows
from tasks.core.logitems import LogItem, Tags
from tasks.io.datasets import log_datasets
from tasks.io.registry import VersionInfo
from tasks.io.revision import code_revision
from tasks.io.setup import Setup
from tasks.io.tracking import Tracker, open_tracker


@dataclass(frozen=True, kw_only=True, eq=False)
class Dossier:
    """All that is kept with a version.

    Attributes
    ----------
    stage : str
        ``train``, ``refit`` or ``register``; the first word of the run's name.
    title : str
        The rest of the name: the candidate, or where a model came from.
    items : iterable of LogItem
        What the run holds.
    parts : mapping of str to Rows
        Rows by the part they played, for MLflow's data sets.
    store : callable
        ``(tracker, run id) -> URI``: stores the model's files with the run.
    tags : mapping of str to str
        The version's story, and the run's.
    description : str
        One sentence on the version, for people.
    children : mapping of str to iterable of LogItem
        Child runs by name.
    """

    stage: str
    title: str
    items: Iterable[LogItem]
    parts: Mapping[str, Rows]
    store: Callable[[Tracker, str], str]
    tags: Mapping[str, str]
    description: str = ""
    children: Mapping[str, Iterable[LogItem]] = field(default_factory=dict)


def keep_version(setup: Setup, dossier: Dossier) -> VersionInfo:
    """Write the run, store the files, and register the version; a failure before the last step registers nothing.

    Returns
    -------
    VersionInfo
        With the run's id under the tag ``evergreen.run``.
    """
    tracker, registry = open_tracker(setup.stores), setup.stores.registry
    tags = {**dossier.tags, "evergreen.stage": dossier.stage, "evergreen.code_revision": code_revision()}
    name = f"{dossier.stage} {dossier.title}"
    registry.ensure_model(setup.model, description=setup.config.description)
    with tracker.run(setup.model, "training", name=name, tags=tags) as run_id:
        for child, items in dossier.children.items():
            with tracker.run(setup.model, "training", name=child, tags=tags, parent=run_id) as child_id:
                tracker.write_items(child_id, items)
        tracker.write_items(run_id, dossier.items)
        log_datasets(tracker, run_id, dossier.parts, config=setup.config)
        source = dossier.store(tracker, run_id)
        info = registry.register(
            setup.model,
            source=source,
            run_id=run_id,
            tags={"validation_status": "pending", **tags, "evergreen.run": run_id},
            description=dossier.description,
        )
        tracker.write_items(run_id, [Tags({"evergreen.version": str(info.version)})])
        tracker.rename_run(run_id, f"{dossier.stage} v{info.version} {dossier.title}")
    return info
