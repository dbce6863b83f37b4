"""Put the pages of the last monitoring run where a newcomer finds them."""

from __future__ import annotations

from pathlib import Path

from tasks.io.setup import open_setup
from tasks.io.tracking import open_tracker

PAGES = ("drift.html", "evidently.html")


def collect_pages(model: str, folder: Path) -> list[Path]:
    """Copy the pages of the newest run of ``<model>/monitoring`` that has both of them; return where they are."""
    setup = open_setup(model)
    client = open_tracker(setup.stores).client
    experiment = client.get_experiment_by_name(f"{setup.model}/monitoring")
    if experiment is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"]):
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        if files.issuperset(PAGES):
            return [Path(client.download_artifacts(run.info.run_id, page, str(folder))) for page in PAGES]
    return []
