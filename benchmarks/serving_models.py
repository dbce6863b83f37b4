"""Two models in a store of their own, registered once and served by both sides: 20 numbers, and four texts more."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

ROWS, ASKED = 20_000, 64
NUMBERS = [f"n{number:02d}" for number in range(20)]
TEXTS = [f"t{number}" for number in range(4)]
MODELS = {"numbers": NUMBERS, "texts": [*NUMBERS, *TEXTS]}
_TREES: dict[str, Any] = {"max_iter": 100, "early_stopping": False, "random_state": 0}


def make_rows() -> pd.DataFrame:
    """Return rows in clock order whose outcome follows some of the columns."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(ROWS, len(NUMBERS))), columns=NUMBERS)
    for at, name in enumerate(TEXTS):
        frame[name] = rng.choice([f"{name}-{word}" for word in range(5 + 10 * at)], size=ROWS)
    strength = frame["n00"] * frame["n01"] + frame["n02"] - np.abs(frame["n03"])
    strength += 0.7 * (frame["t0"] == "t0-1") + rng.logistic(size=ROWS) * 0.5
    frame["y"] = (strength > 0).astype(int)
    frame.insert(0, "at", pd.date_range("2026-01-01", periods=ROWS, freq="min", tz="UTC"))
    return frame


def build(folder: Path) -> None:
    """Fit, log and register both models, each as version 1 and @champion of a registered model of that name.

    The environment must name the folder's stores (`environ`).
    """
    from evergreen.tasks.core.promotion.plan import CHAMPION, PlanStep
    from evergreen.tasks.io.alias_transaction import apply_step
    from evergreen.tasks.io.setup import open_setup
    from evergreen.tasks.registration import register_model

    frame = make_rows()
    (folder / "config").mkdir(parents=True)
    frame.to_csv(folder / "config" / "rows.csv", index=False)
    for name, columns in MODELS.items():
        for log in ("off", "durable"):
            _write_config(folder / "config" / f"{name}-{log}.yaml", name, columns, log)
        path = str(folder / "config" / f"{name}-off.yaml")
        uri = _log(name, _pipeline(name).fit(frame[columns], frame["y"]), frame[columns])
        register_model(path, uri, trained_to=frame["at"].iloc[ROWS // 2].isoformat())
        apply_step(
            open_setup(path).stores.registry, name, PlanStep(action="set_alias", alias=CHAMPION, version=1)
        )


def environ(folder: Path) -> dict[str, str]:
    """Return the environment in which both sides find the stores."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "EVERGREEN_HOME": str(folder / "home"),
        "EVERGREEN_CONFIG": str(folder / "config"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def bodies(name: str) -> list[bytes]:
    """Return one-row requests in MLflow's form, which both sides take."""
    rows = make_rows()[MODELS[name]].tail(ASKED).astype(object).to_numpy().tolist()
    return [
        json.dumps({"dataframe_split": {"columns": MODELS[name], "data": [row]}}).encode() for row in rows
    ]


def _pipeline(name: str) -> Pipeline:
    if name == "numbers":
        return make_pipeline(StandardScaler(), HistGradientBoostingClassifier(**_TREES))
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((StandardScaler(), NUMBERS), (codes, TEXTS))
    return make_pipeline(columns, HistGradientBoostingClassifier(**_TREES))


def _log(name: str, model: Pipeline, features: pd.DataFrame) -> str:
    """Log as anybody would, with a signature, but answering probabilities, so that answers can be compared."""
    import mlflow
    import skops.io

    mlflow.set_experiment(name)
    example = features.head(5)
    logged = mlflow.sklearn.log_model(
        model,
        name="model",
        serialization_format="skops",
        skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(model)),
        signature=mlflow.models.infer_signature(example, model.predict_proba(example)),
        pyfunc_predict_fn="predict_proba",
        pip_requirements=["scikit-learn"],
    )
    return str(logged.model_uri)


def _write_config(path: Path, name: str, columns: list[str], log: str) -> None:
    values = {
        "model": name,
        "problem": "binary",
        "data": {
            "source": "rows.csv",
            "target": "y",
            "time": "at",
            "numeric": NUMBERS,
            "categorical": [one for one in columns if one in TEXTS],
        },
        "evaluation": {"validation_window": "3d"},
        "training": {"candidates": [{"name": "x", "estimator": "sklearn.linear_model.LogisticRegression"}]},
        "serving": {"log": log},
    }
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
