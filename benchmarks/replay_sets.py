"""The public data whose replays stand in docs/limits.md, configured as ``evergreen init`` proposed it for them."""

from __future__ import annotations

from typing import Any

EVERYTHING = "configured,never,every,{periodic},literal"
"""Policies of a run in which the first model's candidate is fitted again; beside it one lets all compete (full)."""
BOOSTED = {"max_iter": 150, "learning_rate": 0.08, "max_leaf_nodes": 31, "min_samples_leaf": 20}


def _runs(periodic: str) -> list[tuple[bool, str]]:
    """Return the replays of a data set: whether all candidates compete in each retraining, and its policies."""
    return [(False, EVERYTHING.format(periodic=periodic)), (True, "configured")]


def _candidate(name: str, estimator: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "estimator": f"sklearn.{estimator}", "params": params}


CLASSIFIERS = [
    _candidate("logistic", "linear_model.LogisticRegression", max_iter=500),
    _candidate("boosted_trees", "ensemble.HistGradientBoostingClassifier", **BOOSTED),
]
REGRESSORS = [
    _candidate("ridge", "linear_model.Ridge", alpha=1.0),
    _candidate("boosted_trees", "ensemble.HistGradientBoostingRegressor", **BOOSTED),
]
FOREST = _candidate(
    "forest", "ensemble.RandomForestRegressor",
    n_estimators=80, max_depth=12, min_samples_leaf=5, max_features="sqrt",
)  # fmt: skip

ELEC2: dict[str, Any] = {
    "model": "elec2",
    "problem": "binary",
    "data": {
        "target": "up",
        "time": "timestamp",
        "clock": "timestamp",
        "exclude": {"date_norm": "the time once more"},
        "numeric": ["day", "period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"],
        "categorical": [],
    },
    "evaluation": {
        "metric": "roc_auc", "validation_window": "28d", "policy": "non_inferiority", "margin": 0.02,
    },
    "split": {"holdout": "14d"},
    "monitoring": {"window": "14d"},
    "retraining": {"window": "270d", "cooldown": "42d", "every": "42d", "back_off": 1.0},
    "training": {"candidates": CLASSIFIERS},
}  # fmt: skip
RACING: dict[str, Any] = {
    "model": "racing",
    "problem": "ranking",
    "data": {
        "target": "relevance",
        "group": "race_id",
        "time": "race_date",
        "clock": "timestamp",
        "exclude": {
            "finish_pos": "the outcome",
            "finish_secs": "the outcome",
            "win": "the outcome",
            "top3": "the outcome",
            "status": "tells where finish_pos is empty",
            "season": "the time once more",
        },
        "numeric": [
            "race_no", "race_class", "distance_m", "prize_hkd", "field_size", "horse_no", "draw", "actual_wt_lbs",
            "declared_wt_lbs", "j180_runs", "j180_win_rate", "j180_top3_rate", "t180_runs", "t180_win_rate",
            "t180_top3_rate", "h730_runs", "h730_win_rate", "h730_top3_rate", "last_pos_pct", "last3_pos_pct",
            "days_since", "wt_change", "last_odds", "dist_change", "last_class", "win_odds",
        ],
        "categorical": ["venue", "surface", "course_cfg", "going", "horse_code", "jockey_id", "trainer_id"],
    },
    "evaluation": {"metric": "ndcg_at_3", "validation_window": "98d"},
    "monitoring": {"window": "21d"},
    "retraining": {"window": "545d", "cooldown": "63d", "every": "63d"},
    "training": {"candidates": REGRESSORS},
}  # fmt: skip
BIKE_HOUR: dict[str, Any] = {
    "model": "bike_hour",
    "problem": "regression",
    "data": {
        "target": "cnt",
        "time": "timestamp",
        "clock": "timestamp",
        "exclude": {
            "casual": "a part of the outcome",
            "registered": "a part of the outcome",
            "instant": "a row number",
            "yr": "the time once more",
        },
        "numeric": [
            "season", "mnth", "hr", "holiday", "weekday", "workingday", "weathersit", "temp", "atemp", "hum",
            "windspeed",
        ],
        "categorical": [],
    },
    "evaluation": {
        "metric": "rmse", "validation_window": "42d", "policy": "non_inferiority", "margin": 0.02,
    },
    "split": {"holdout": "21d"},
    "monitoring": {"window": "21d"},
    "retraining": {"window": "545d", "cooldown": "63d", "every": "63d", "back_off": 1.0},
    "training": {"candidates": [*REGRESSORS, FOREST]},
}  # fmt: skip
SEA: dict[str, Any] = {
    "model": "sea",
    "problem": "binary",
    "data": {
        "target": "target",
        "time": "t",
        "clock": "rows",
        "numeric": ["f1", "f2", "f3"],
        "categorical": [],
    },
    "evaluation": {"metric": "roc_auc", "validation_window": "5000 rows"},
    "split": {"holdout": "1000 rows"},
    "monitoring": {"window": "1000 rows"},
    "retraining": {"window": "20000 rows", "every": "3000 rows"},
    "training": {"candidates": CLASSIFIERS},
}
SETS: dict[str, dict[str, Any]] = {
    "elec2": {"file": "elec2.csv", "config": ELEC2, "runs": _runs("periodic:30d")},
    "racing": {"file": "hkjc_racing_2016_2018.parquet", "config": RACING, "runs": _runs("periodic:30d")},
    "bike_hour": {"file": "bike_hour.csv", "config": BIKE_HOUR, "runs": _runs("periodic:30d")},
    "sea": {"file": "sea_concepts_synthetic.csv", "config": SEA, "runs": _runs("periodic:5000 rows")},
}
