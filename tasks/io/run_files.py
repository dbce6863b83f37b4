"""The files of one MLflow run, straight from where they lie: MLflow's client looks the run up before each file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from tasks.core.logitems import Figure, Json, Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository


def save_png(figure: Drawing, target: Path | BinaryIO) -> None:
    """Write a figure as PNG, drawn once; ``savefig`` draws twice where a layout is to be found."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).print_png(target)  # type: ignore[no-untyped-call]


class RunFiles:
    """Reads and writes the documents of a run, as ``MlflowClient.log_dict`` and its like do.

    Parameters
    ----------
    client : MlflowClient
        Asked once, for where the run's files are.
    run_id : str
        The run.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = client.get_run(run_id).info.artifact_uri
        self._files: ArtifactRepository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)

    def read_json(self, path: str) -> Any:
        """Return a JSON document, or None when there is none at this path."""
        folder = path.rpartition("/")[0] or None
        if path not in {file.path for file in self._files.list_artifacts(folder)}:
            return None
        with tempfile.TemporaryDirectory() as folder:
            local = self._files.download_artifacts(path, folder)  # type: ignore[no-untyped-call]
            return json.loads(Path(local).read_text(encoding="utf-8"))

    def write(self, item: Json | Text | Figure) -> None:
        """Write a document; a figure is cleared afterwards."""
        with self._placed(item.path) as local:
            if isinstance(item, Json):
                local.write_text(json.dumps(item.content, indent=2, default=str), encoding="utf-8")
            elif isinstance(item, Text):
                local.write_text(item.content, encoding="utf-8")
            else:
                save_png(item.figure, local)
                item.figure.clear()

    @contextmanager
    def _placed(self, path: str) -> Iterator[Path]:
        """Give a local file to write, and store it under its path in the run."""
        place = PurePosixPath(path)
        with tempfile.TemporaryDirectory() as folder:
            yield (local := Path(folder) / place.name)
            parent = place.parent.as_posix()
            folder_in_run = None if parent == "." else parent
            self._files.log_artifact(str(local), folder_in_run)  # type: ignore[no-untyped-call]
