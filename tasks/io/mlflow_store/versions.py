"""Store a model: its run, its files, its documents, and a registered version with tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.log_items import LogItem, Tags
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.io.mlflow_store.documents import read_optional
from evergreen.tasks.io.mlflow_store.reader import VersionInfo
from evergreen.tasks.io.mlflow_store.tracking import Tracker, code_tags, log_datasets, open_tracker
from evergreen.tasks.io.settings import import_root
from evergreen.tasks.io.setup import Setup


@dataclass(frozen=True, kw_only=True, eq=False)
class VersionRecord:
    """All that is stored with a version.

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


def store_version(setup: Setup, record: VersionRecord) -> VersionInfo:
    """Write the run, store the files, and register the version; a failure before the last step registers nothing.

    Returns
    -------
    VersionInfo
        With the run's id under the tag ``evergreen.run``.
    """
    tracker, registry = open_tracker(setup.stores), setup.stores.registry
    tags = {**record.tags, "evergreen.stage": record.stage, **code_tags(setup.base, root=import_root())}
    name = f"{record.stage} {record.title}"
    registry.ensure_model(setup.model, description=setup.config.description)
    with tracker.run(setup.model, "training", name=name, tags=tags) as run_id:
        for child, items in record.children.items():
            with tracker.run(setup.model, "training", name=child, tags=tags, parent=run_id) as child_id:
                tracker.write_items(child_id, items)
        tracker.write_items(run_id, record.items)
        log_datasets(tracker, run_id, record.parts, config=setup.config)
        source = record.store(tracker, run_id)
        info = registry.register(
            setup.model,
            source=source,
            run_id=run_id,
            tags={"validation_status": "pending", **tags, "evergreen.run": run_id},
            description=record.description,
        )
        tracker.write_items(run_id, [Tags({"evergreen.version": str(info.version)})])
        tracker.rename_run(run_id, f"{record.stage} v{info.version} {record.title}")
    return info


# The reference that was frozen with a version: read back for monitoring, and for the grid of the next one.


def earlier_grid(setup: Setup) -> Grid | None:
    """Return the inputs' grid of the champion, else of the newest version; None where there is none."""
    registry = setup.stores.registry
    champion = registry.aliases(setup.model).get("champion")
    versions = registry.versions(setup.model) if champion is None else []
    if champion is not None:
        versions = [registry.version(setup.model, champion)]
    profile = read_optional(setup, versions[-1], "profile") if versions else None
    return None if profile is None else Grid.from_dict(profile["inputs"]["grid"])
