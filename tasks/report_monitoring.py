"""Show what monitoring saw: pages and numbers in MLflow, a summary, a table and a link in Prefect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tasks.core.pages.report import monitoring_items, monitoring_markdown, moved_rows
from tasks.core.pages.watched import Watched
from tasks.core.verdict import Reason, StageResult
from tasks.io.evidently_page import EvidentlyPage, draw_evidently_page, read_sample
from tasks.io.setup import Setup
from tasks.io.tracking import open_tracker
from tasks.links import artifact_key
from tasks.retries import TRANSIENT
from tasks.stage_task import stage_task


@stage_task(**TRANSIENT)
def report_monitoring(
    setup: Setup, watched: Watched, result: StageResult, *, sample: Mapping[str, Any] | None = None
) -> str | None:
    """Log both pages to MLflow (``<model>/monitoring``) and show them in Prefect; return where they are.

    Parameters
    ----------
    watched : Watched
        What is told: the run's windows, with older ones where they are at hand.
    result : StageResult
        The run's result.
    sample : mapping, optional
        Rows of the newest window (`tasks.core.pages.sample.draw_sample`); without it there is no Evidently page.
    """
    evidently = compare_samples(setup, result, sample)
    tracker = open_tracker(setup.stores)
    name = f"monitor-{result.state.value.lower()}"
    with tracker.run(setup.model, "monitoring", name=name, tags={"evergreen.stage": "monitoring"}) as run_id:
        tracker.write_items(run_id, monitoring_items(watched, result, evidently=evidently.html))
    url = tracker.run_url(run_id)
    show_artifacts(watched, url, evidently.reasons)
    return url


def compare_samples(setup: Setup, result: StageResult, sample: Mapping[str, Any] | None) -> EvidentlyPage:
    """Draw Evidently's page, unless it is switched off or there is nothing to draw it from."""
    if not setup.config.monitoring.report_rows:
        said = "Evidently's page is switched off (monitoring.report_rows: 0)."
        return EvidentlyPage(reasons=(Reason(code="switched_off", message=said),))
    if sample is None or result.version is None:
        said = "No Evidently page: there was no window with rows to draw it from."
        return EvidentlyPage(reasons=(Reason(code="no_rows", message=said),))
    reference = read_sample(setup, result.version)
    return draw_evidently_page(reference, sample, private=frozenset(setup.config.data.private))


def show_artifacts(watched: Watched, url: str | None, notes: tuple[Reason, ...]) -> None:
    """Show summary, moved columns and the link in the Prefect UI."""
    page = monitoring_markdown(watched, run_url=url, notes=notes)
    create_markdown_artifact(page, key=artifact_key("monitor", watched.model), description="What drifted")
    create_table_artifact(
        moved_rows(watched), key=artifact_key("moved", watched.model), description="Columns that moved"
    )
    if url:
        create_link_artifact(
            url, key=artifact_key("drift-pages", watched.model), link_text="Drift pages in MLflow"
        )
