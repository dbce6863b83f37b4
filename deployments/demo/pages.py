"""Put the pages of monitoring and of the replay where a newcomer finds them."""

from __future__ import annotations

from pathlib import Path

from tasks.io.setup import open_setup
from tasks.io.tracking import open_tracker

PAGES = {"monitoring": ("drift.html", "evidently.html"), "retraining": ("replay.html",)}


def collect_pages(model: str, folder: Path) -> list[Path]:
    """Copy the pages of the newest runs of ``<model>/<concern>`` that have all of them; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    return [page for concern, pages in PAGES.items() for page in _newest(model, concern, pages, folder)]


def _newest(model: str, concern: str, pages: tuple[str, ...], folder: Path) -> list[Path]:
    setup = open_setup(model)
    client = open_tracker(setup.stores).client
    experiment = client.get_experiment_by_name(f"{setup.model}/{concern}")
    if experiment is None:
        return []
    for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"]):
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        if files.issuperset(pages):
            return [Path(client.download_artifacts(run.info.run_id, page, str(folder))) for page in pages]
    return []
