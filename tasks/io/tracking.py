"""The one writer of MLflow runs: stages describe what they log, this logs it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks.core.errors import InputError
from tasks.core.logitems import Figure, Json, LogItem, Metrics, Params, Table, Tags, Text
from tasks.io.run_files import RunFiles
from tasks.io.store_checks import mlflow_unreachable

if TYPE_CHECKING:
    from mlflow import MlflowClient

PER_BATCH = 100
LONGEST_PARAM = 6000
LONGEST_TAG = 8000


class Addresses(Protocol):
    """Where the MLflow store is; ``tasks.io.setup.Stores`` is one."""

    @property
    def tracking_uri(self) -> str:
        """Address of the store."""

    @property
    def artifact_root(self) -> str | None:
        """Where an embedded store keeps artifacts; None leaves it to the server."""

    @property
    def mlflow_ui(self) -> str | None:
        """Where people open MLflow's pages; None where there are none."""


def open_tracker(stores: Addresses) -> Tracker:
    """Return the writer for a machine's MLflow store; nothing is opened before it is used."""
    return Tracker(stores.tracking_uri, artifact_root=stores.artifact_root, ui=stores.mlflow_ui)


class Tracker:
    """Writes runs into experiments named ``<model>/<concern>``.

    Parameters
    ----------
    tracking_uri : str
        MLflow store or server.
    artifact_root : str | None
        Folder URI for artifacts of an embedded store; None leaves it to the server.
    ui : str | None
        Where people open the store's pages.
    """

    def __init__(self, tracking_uri: str, *, artifact_root: str | None = None, ui: str | None = None) -> None:
        self.tracking_uri = tracking_uri
        self.artifact_root = artifact_root
        self.ui = ui
        self._runs: dict[str, RunFiles] = {}

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client, created at first use."""
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri)

    def experiment_id(self, model: str, concern: str) -> str:
        """Return the id of ``<model>/<concern>``, created when it is missing.

        Raises
        ------
        InputError
            When the experiment lies in MLflow's trash.
        """
        from mlflow.exceptions import MlflowException

        name = f"{model}/{concern}"
        location = f"{self.artifact_root}/{name}" if self.artifact_root else None
        with answered(self.tracking_uri):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                try:
                    return str(self.client.create_experiment(name, artifact_location=location))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    found = self.client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage == "deleted":
            raise InputError(
                f"The MLflow experiment '{name}' was deleted. Restore it (mlflow experiments restore) or remove "
                "it for good (mlflow gc)."
            )
        return str(found.experiment_id)

    def create_run(
        self,
        model: str,
        concern: str,
        *,
        name: str,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> str:
        """Create a run and return its id.

        Parameters
        ----------
        model, concern : str
            The experiment is ``<model>/<concern>``.
        name : str
            Readable name of the run.
        tags : mapping, optional
            Tags; ours begin with ``evergreen.``.
        parent : str, optional
            Run it is shown under.
        """
        own = {"evergreen.model": model, **(tags or {})}
        if parent is not None:
            own["mlflow.parentRunId"] = parent
        experiment = self.experiment_id(model, concern)
        with answered(self.tracking_uri):
            run = self.client.create_run(experiment, run_name=name, tags=_cut(own, LONGEST_TAG))
        return str(run.info.run_id)

    @contextmanager
    def run(
        self,
        model: str,
        concern: str,
        *,
        name: str,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> Iterator[str]:
        """Create a run, end it FINISHED, or FAILED when the block raises (and raise on)."""
        run_id = self.create_run(model, concern, name=name, tags=tags, parent=parent)
        status = "FAILED"
        try:
            yield run_id
            status = "FINISHED"
        finally:
            self.end_run(run_id, status=status)

    def end_run(self, run_id: str, *, status: str = "FINISHED") -> None:
        """End a run, ``FINISHED`` or ``FAILED``."""
        with answered(self.tracking_uri):
            self.client.set_terminated(run_id, status=status)

    def rename_run(self, run_id: str, name: str) -> None:
        """Give a run another name."""
        with answered(self.tracking_uri):
            self.client.update_run(run_id, name=name)

    def write_items(self, run_id: str, items: Iterable[LogItem]) -> None:
        """Write log items to a run: numbers, parameters and tags in batches, documents one by one."""
        metrics: dict[tuple[str, int], float] = {}
        params: dict[str, Any] = {}
        tags: dict[str, Any] = {}
        batched = {Params: params, Tags: tags}
        with answered(self.tracking_uri):
            for item in items:
                if isinstance(item, Metrics):
                    metrics.update({(name, item.step): value for name, value in item.values.items()})
                elif isinstance(item, Params | Tags):
                    batched[type(item)].update(item.values)
                else:
                    self._write_document(run_id, item)
            self._write_batches(run_id, metrics, _cut(params, LONGEST_PARAM), _cut(tags, LONGEST_TAG))

    def read_json(self, run_id: str, path: str) -> Any:
        """Return a JSON document of a run, or None when the run has none at this path."""
        with answered(self.tracking_uri):
            return self._files(run_id).read_json(path)

    def store_folder(self, run_id: str, folder: Path, path: str) -> str:
        """Store a local folder among a run's artifacts and return its URI."""
        with answered(self.tracking_uri):
            self.client.log_artifacts(run_id, str(folder), path)
            return f"{self.client.get_run(run_id).info.artifact_uri}/{path}"

    def run_url(self, run_id: str) -> str | None:
        """Return the address of the run's page; None where the store has no pages."""
        if self.ui is None:
            return None
        with answered(self.tracking_uri):
            experiment = self.client.get_run(run_id).info.experiment_id
        return f"{self.ui}/#/experiments/{experiment}/runs/{run_id}"

    def _write_document(self, run_id: str, item: Json | Text | Figure | Table) -> None:
        if isinstance(item, Table):
            self.client.log_table(run_id, item.columns, item.path)
        else:
            self._files(run_id).write(item)

    def _files(self, run_id: str) -> RunFiles:
        if run_id not in self._runs:
            self._runs[run_id] = RunFiles(self.client, run_id)
        return self._runs[run_id]

    def _write_batches(
        self, run_id: str, metrics: dict[tuple[str, int], float], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = time.time_ns() // 1_000_000
        values = iter([Metric(name, float(value), now, step) for (name, step), value in metrics.items()])
        texts = iter([Param(name, value) for name, value in params.items()])
        labels = iter([RunTag(name, value) for name, value in tags.items()])
        while True:
            m, p, t = (
                list(islice(values, PER_BATCH)),
                list(islice(texts, PER_BATCH)),
                list(islice(labels, PER_BATCH)),
            )
            if not (m or p or t):
                return
            self.client.log_batch(run_id, metrics=m, params=p, tags=t)


@contextmanager
def answered(tracking_uri: str) -> Iterator[None]:
    """Turn 'the server does not answer' into ``Unreachable``, which is worth a retry; the rest goes on."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code == "TEMPORARILY_UNAVAILABLE" or "API request to" in str(error.message):
            raise mlflow_unreachable(tracking_uri, error.message) from error
        raise


def _cut(values: Mapping[str, Any], longest: int) -> dict[str, str]:
    """Return texts no longer than MLflow takes."""
    texts = {str(name): str(value) for name, value in values.items()}
    return {name: text if len(text) <= longest else text[: longest - 1] + "…" for name, text in texts.items()}
