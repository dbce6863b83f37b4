"""Draw docs/pictures, alarms and true performance over real data: ``python -m benchmarks.pictures``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from evergreen.tasks.core.reports.drift_charts import performance_picture

ROOT = Path(__file__).resolve().parents[1]
DATA, PICTURES = ROOT.parent / "shared" / "data", ROOT / "docs" / "pictures"
SETS: dict[str, dict[str, Any]] = {
    "elec2": {
        "title": "elec2: a model of 1996 over two years, windows of 7 days",
        "until": "1997-01-01",
        "problem": "binary",
        "target": "up",
        "exclude": {"date_norm": "the time once more"},
        "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    },
    "bike_hour": {
        "title": "bike_hour: a model of early 2011 over 18 months, windows of 7 days",
        "until": "2011-07-01",
        "problem": "regression",
        "target": "cnt",
        "exclude": {
            "instant": "a row number",
            "yr": "the year",
            "casual": "a part of the outcome",
            "registered": "a part of the outcome",
        },
        "estimator": "sklearn.ensemble.HistGradientBoostingRegressor",
    },
}


def configuration(name: str) -> dict[str, Any]:
    """Return the configuration of one data set."""
    one = SETS[name]
    source = str(DATA / f"{name}.csv")
    candidate = {"name": "boosting", "estimator": one["estimator"]}
    return {
        "problem": one["problem"],
        "data": {"source": source, "target": one["target"], "time": "timestamp", "exclude": one["exclude"]},
        "split": {"holdout": "21d"},
        "evaluation": {"validation_window": "21d"},
        "training": {"candidates": [candidate], "importance_repeats": 1},
        "monitoring": {"window": "7d", "report_rows": 0},
    }


def watch(name: str, folder: Path) -> list[dict[str, Any]]:
    """Train on the first part, put the version on the throne, and look at every window after it."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(configuration(name)), encoding="utf-8")
    run(path, "train", "--until", SETS[name]["until"])
    run(path, "validate")
    run(path, "promote", "--version", "1")
    return list(run(path, "monitor")["windows"])


def run(path: Path, command: str, *options: str) -> dict[str, Any]:
    """Run a command of ``evergreen`` on a configuration and return its JSON."""
    environ = {**os.environ, "EVERGREEN_HOME": str(path.parent / "home")}
    whole = [str(Path(sys.executable).with_name("evergreen")), command, str(path), *options, "--json"]
    done = subprocess.run(whole, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"evergreen {command} ended with {done.returncode}: {done.stderr[-1000:]}")
    return dict(json.loads(done.stdout))


def main() -> None:
    """Draw every picture."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, one in SETS.items():
        with tempfile.TemporaryDirectory() as folder:
            windows = watch(name, Path(folder))
        picture = performance_picture(windows, title=one["title"])
        (PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")
        print(f"{name}: {len(windows)} windows")


if __name__ == "__main__":
    main()
