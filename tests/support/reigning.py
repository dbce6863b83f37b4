"""A small model for tests of whole flows: hourly rows in a CSV file, one strong feature, one quick candidate."""

import numpy as np
import pandas as pd
import yaml

HOURS = 2000
START = "2026-01-01"


def write_hours(path, *, strength=2.0, hours=HOURS):
    """Write hourly rows whose target follows ``x``."""
    rng = np.random.default_rng(7)
    x, z = rng.normal(size=hours), rng.normal(size=hours)
    y = (rng.random(hours) < 1 / (1 + np.exp(-strength * x))).astype(int)
    at = pd.date_range(START, periods=hours, freq="h", tz="UTC")
    pd.DataFrame({"at": at, "x": x, "z": z, "y": y}).to_csv(path, index=False)


def write_model(folder, name, **sections):
    """Write a model's data and configuration into a folder; return the configuration's path."""
    write_hours(folder / f"{name}.csv")
    values = {
        "problem": "binary",
        "data": {"source": f"{name}.csv", "target": "y", "time": "at"},
        "split": {"holdout": "14d"},
        "training": {
            "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
            "folds": 3,
            "importance_repeats": 1,
        },
        "evaluation": {"metric": "roc_auc", "validation_window": "14d"},
        **sections,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
