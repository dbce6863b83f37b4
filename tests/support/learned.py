"""A model trained once for several tests: those that only read open its stores, the others a copy."""

import shutil

import pytest

from evergreen.tasks.core.drift.reference import Reference
from evergreen.tasks.core.monitoring.reference_series import ReferenceSeries
from evergreen.tasks.io.mlflow_store.documents import read_documents
from evergreen.tasks.io.mlflow_store.versions import read_history_document
from evergreen.tasks.io.setup import open_setup
from tests.support.arena import train
from tests.support.learning import write_model
from tests.support.monitored import point_at


class Learned:
    """A model and the versions trained of it, in stores of its own.

    Parameters
    ----------
    folder : Path
        Where it lies.
    template : Path
        The MLflow store it begins with.
    until : sequence of str or None
        The moments as of which a version is trained, one after the other.
    options : mapping
        See ``write_model``.

    Attributes
    ----------
    lesson, choice, fitted : object
        What came of the newest training.
    infos : list of VersionInfo
        The versions, oldest first.
    """

    def __init__(self, folder, template, *, until=(None,), **options):
        self.folder, self.infos = folder, []
        self.options = options
        shutil.copy(template, folder / "mlflow.db")
        with pytest.MonkeyPatch.context() as patch:
            setup = self._open(folder, patch)
            for moment in until:
                self.lesson, self.choice, self.fitted, info = train(setup, until=moment)
                self.infos.append(info)
                shutil.copy(folder / "mlflow.db", self._kept(info.version))

    @property
    def info(self):
        """The newest version."""
        return self.infos[-1]

    def open(self, patch):
        """Return the model over its own stores, for tests that write nothing."""
        return self._open(self.folder, patch)

    def copied(self, folder, patch, *, version=None):
        """Return the model over a copy of its stores as they were after a version (default: the newest)."""
        shutil.copy(self._kept(version or self.info.version), folder / "mlflow.db")
        return self._open(folder, patch)

    def _kept(self, version):
        return self.folder / f"after-{version}.db"

    def _open(self, folder, patch):
        point_at(folder, f"sqlite:///{folder}/mlflow.db", patch)
        return open_setup(str(write_model(folder, **self.options)))


def load_reference(setup, info):
    """Return what was frozen with a version: its reference and its own past."""
    kept = read_documents(setup, info, ("profile",))["profile"]
    return Reference.from_dict(kept), ReferenceSeries.from_dict(read_history_document(setup, info))
