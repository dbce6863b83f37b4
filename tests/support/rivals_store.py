"""An MLflow store with two versions that may meet in a live test, trained once a session."""

import pytest

WEAK, STRONG = 1, 2
HIDDEN = {"exclude": {"signal": "hidden from the weak one"}}


@pytest.fixture(scope="session")
def rivals_store(mlflow_template, tmp_path_factory):
    """Path of a store whose first version does not know the column that matters."""
    from tests.support.arena import Arena, train_version

    folder = tmp_path_factory.mktemp("rivals")
    with pytest.MonkeyPatch.context() as patch:
        arena = Arena(folder, f"sqlite:///{folder}/mlflow.db", patch, start=mlflow_template)
        assert (WEAK, STRONG) == tuple(
            train_version(arena.setup(**sections)) for sections in ({"data": HIDDEN}, {})
        )
    return folder / "mlflow.db"
