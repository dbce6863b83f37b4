"""The one writer of MLflow runs: stages describe what they log, this logs it."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.log_items import Figure, File, Json, LogItem, Metrics, Params, Table, Tags, Text
from evergreen.tasks.core.redact import redacted
from evergreen.tasks.io.databases import is_unanswered, mlflow_unreachable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

    from evergreen.tasks.io.setup import Stores


# The code a run was made by: the project's, and the team's that configures it.


def code_tags(folder: Path, *, root: Path) -> dict[str, str]:
    """Return the tags of a run that name its code.

    ``evergreen.code_revision`` is the git commit of the project where it runs from its checkout, else the installed
    version (``unknown`` where there is none); ``evergreen.team_revision`` that of a team's own repository, if any.

    Parameters
    ----------
    folder : Path
        Holds the model's configuration.
    root : Path
        Holds the package ``evergreen``: a checkout, or an environment, which may lie inside a team's repository.
    """
    checkout, team = _repository(root), _repository(folder)
    ours = _revision(root) if checkout == root.resolve() else installed_version()
    theirs = _revision(folder) if team is not None and team != root.resolve() else ""
    return {"evergreen.code_revision": ours or "unknown"} | (
        {"evergreen.team_revision": theirs} if theirs else {}
    )


def installed_version() -> str:
    """Return the version of the installed distribution; empty where there is none."""
    try:
        return version("evergreen-mlops")
    except PackageNotFoundError:
        return ""


def _repository(folder: Path) -> Path | None:
    """Return the top folder of the git repository that a folder lies in."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    return Path(top).resolve() if top else None


def _revision(folder: Path) -> str:
    """Return a repository's commit, with ``+changes`` where files differ; empty without one."""
    commit = _git(folder, "rev-parse", "HEAD")
    return f"{commit}+changes" if commit and _git(folder, "status", "--porcelain", "-uno") else commit


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def save_png(figure: Drawing, target: Path | BinaryIO) -> None:
    """Write a figure as PNG, drawn once; ``savefig`` draws twice where a layout is to be found."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_png(target)  # type: ignore[no-untyped-call]


PER_BATCH = 100
LONGEST_PARAM = 6000
LONGEST_TAG = 8000


def open_tracker(stores: Stores) -> Tracker:
    """Return the writer for a machine's MLflow store; nothing is opened before it is used."""
    settings = stores.settings
    return Tracker(settings.tracking_uri, artifact_root=settings.artifact_root, ui=settings.mlflow_ui)


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
        self._runs: dict[str, ArtifactRepository] = {}

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
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                try:
                    return str(self.client.create_experiment(name, artifact_location=location))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                    experiment = self.client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage == "deleted":
            raise InputError(
                f"The MLflow experiment '{name}' was deleted. Restore it (mlflow experiments restore) or remove "
                "it for good (mlflow gc)."
            )
        return str(experiment.experiment_id)

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
        folder = path.rpartition("/")[0] or None
        with answered(self.tracking_uri), tempfile.TemporaryDirectory() as scratch:
            files = self._files(run_id)
            if path not in {file.path for file in files.list_artifacts(folder)}:
                return None
            local = files.download_artifacts(path, scratch)  # type: ignore[no-untyped-call]
            return json.loads(Path(local).read_text(encoding="utf-8"))

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

    def _write_document(self, run_id: str, item: Json | Text | Figure | Table | File) -> None:
        """Write a document; a figure is cleared afterwards."""
        folder, _, name = item.path.rpartition("/")
        if isinstance(item, File):
            self.client.log_artifact(run_id, item.source, folder or None)
            return
        if isinstance(item, Table):
            self.client.log_table(run_id, item.columns, item.path)
            return
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / name
            if isinstance(item, Figure):
                save_png(item.figure, local)
                item.figure.clear()
            else:
                is_text = isinstance(item, Text)
                text = item.content if is_text else json.dumps(item.content, indent=2, default=str)
                local.write_text(text, encoding="utf-8")
            self._files(run_id).log_artifact(str(local), folder or None)  # type: ignore[no-untyped-call]

    def _files(self, run_id: str) -> ArtifactRepository:
        """Return a run's files straight from where they lie: MLflow's client looks the run up before each file."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if run_id not in self._runs:
            uri = self.client.get_run(run_id).info.artifact_uri
            self._runs[run_id] = get_artifact_repository(uri, tracking_uri=self.client.tracking_uri)
        return self._runs[run_id]

    def _write_batches(
        self, run_id: str, metrics: dict[tuple[str, int], float], params: dict[str, str], tags: dict[str, str]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = time.time_ns() // 1_000_000
        values = [Metric(name, float(value), now, step) for (name, step), value in metrics.items()]
        texts = [Param(name, value) for name, value in params.items()]
        labels = [RunTag(name, value) for name, value in tags.items()]
        for start in range(0, max(len(values), len(texts), len(labels)), PER_BATCH):
            part = slice(start, start + PER_BATCH)
            self.client.log_batch(run_id, metrics=values[part], params=texts[part], tags=labels[part])


@contextmanager
def answered(tracking_uri: str) -> Iterator[None]:
    """Turn 'the server does not answer' into ``Unreachable``, which is worth a retry; the rest goes on."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if is_unanswered(error):
            raise mlflow_unreachable(tracking_uri, error.message) from error
        raise


def _cut(values: Mapping[str, Any], longest: int) -> dict[str, str]:
    """Return texts no longer than MLflow takes."""
    texts = {str(name): str(value) for name, value in values.items()}
    return {name: text if len(text) <= longest else text[: longest - 1] + "…" for name, text in texts.items()}


# Tell MLflow which data a run used: where from, which columns, how many rows, a digest.


_TYPES = {"f": "double", "i": "long", "u": "long", "b": "boolean", "M": "datetime"}


def log_datasets(tracker: Tracker, run_id: str, parts: Mapping[str, Rows], *, config: ModelConfig) -> None:
    """Log rows by the part they played (``training``, ``holdout``); empty parts are left out.

    Only names, types, counts and digests are stored, never a row; credentials in the address are dropped.
    """
    inputs = [_input(rows, context, config) for context, rows in parts.items() if len(rows)]
    with answered(tracker.tracking_uri):
        tracker.client.log_inputs(run_id, datasets=inputs)


def _input(rows: Rows, context: str, config: ModelConfig) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=f"{config.model}-{context}",
        digest=rows.fingerprint[:36],
        source_type="evergreen",
        source=json.dumps({"uri": redacted(config.data.source), "table": config.data.table}),
        schema=json.dumps({"mlflow_colspec": _columns(rows.frame)}),
        profile=json.dumps({"num_rows": len(rows), "num_elements": int(rows.frame.size)}),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)])


def _columns(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {"type": _TYPES.get(frame[name].dtype.kind, "string"), "name": str(name), "required": False}
        for name in frame.columns
    ]
