"""Stages: thin Prefect tasks over a pure core and an io layer that touches the world."""

import os

if __name__ != "evergreen.tasks":
    raise ImportError(
        f"'{__name__}' at {__file__} is evergreen.tasks: write 'from evergreen.tasks import …'."
    )


# OpenMP threads that wait should sleep: spinning ones made a boosting fit 10 times slower on a busy machine
# (2 cores, load 7: 7.1 s against 0.7 s). It must be set before scikit-learn is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# MLflow draws a progress bar for each small file it fetches.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
