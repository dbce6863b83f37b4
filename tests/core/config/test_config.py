import copy
import json

import pytest
import yaml

from evergreen.deployments.config_docs import CONFIG_DIR, DOCUMENTS
from evergreen.tasks.core.config import ModelConfig, parse_model
from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.errors import ConfigError

MINIMAL = {
    "model": "fraud",
    "problem": "binary",
    "data": {"source": "payments.csv", "target": "fraud"},
    "training": {
        "candidates": [{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}]
    },
}

EXPECTED_DEFAULTS = {
    "evaluation.significance_level": 0.05,
    "evaluation.min_improvement": 0.02,
    "evaluation.validation_window": "7d",
    "evaluation.max_rollback_attempts": 3,
    "drift.psi_warning": 0.10,
    "drift.psi_critical": 0.25,
    "drift.ks_significance": 0.05,
    "drift.concept_threshold": 0.15,
    "retraining_limits.data": 0.25,
    "retraining_limits.performance": 0.05,
    "retraining.window": "180d",
    "retraining.cooldown": "1h",
    "retraining.weighted": False,
    "monitoring.interval": "1h",
    "monitoring.history": "30d",
    "drift_critical": 0.25,
    "performance_drop": 0.05,
    "promotion.evidence": "offline",
}


def with_value(key, value):
    values = copy.deepcopy(MINIMAL)
    *path, last = key.split(".")
    place = values
    for part in path:
        place = place.setdefault(part, {})
    place[last] = value
    return values


def message_of(key, value):
    with pytest.raises(ConfigError) as caught:
        parse_model(with_value(key, value), origin="config/fraud.yaml")
    return str(caught.value)


@pytest.mark.parametrize(("key", "expected"), EXPECTED_DEFAULTS.items())
def test_defaults_are_those_a_team_expects(key, expected):
    value = parse_model(MINIMAL, origin="config/fraud.yaml")
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    assert expected == (value if isinstance(value, (int, float, bool)) else str(value))


def test_base_file_holds_the_typed_defaults():
    defaults = yaml.safe_load((CONFIG_DIR / "base.yaml").read_text())
    assert parse_model(MINIMAL, origin="x") == parse_model(MINIMAL, defaults=defaults, origin="x")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_documents_are_fresh(name):
    assert DOCUMENTS[name]() == (CONFIG_DIR / name).read_text(encoding="utf-8")


def test_schema_closes_every_section():
    schema = json.loads((CONFIG_DIR / "schema.json").read_text())
    closed = [
        part["additionalProperties"] for part in schema["$defs"].values() if part.get("type") == "object"
    ]
    assert closed
    assert not any(closed)


def test_unknown_key_names_the_likeliest_one():
    message = message_of("evaluation.min_improvment", 0.1)
    assert "Unknown key 'evaluation.min_improvment' in config/fraud.yaml" in message
    assert "Did you mean 'min_improvement'?" in message


def test_unknown_key_inside_a_union_is_named():
    message = message_of("evaluation.threshold", {"false_positive": 1, "false_negatve": 2})
    assert "Did you mean 'false_negative'?" in message
    assert "evaluation.threshold.false_negatve" in message


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("evaluation.min_improvement", "much", "valid number"),
        ("evaluation.validation_window", "7x", "30s, 15m, 1h, 7d, 2w"),
        ("evaluation.significance_level", 1.5, "less than 1"),
        ("problem", "clasification", "'binary', 'multiclass', 'regression' or 'ranking'"),
        ("retraining.cooldown", "5 rows", "is not a duration"),
        ("retraining.window", "ever", "'full'"),
        ("training.candidates", [], "at least 1"),
    ],
)
def test_wrong_value_says_what_is_allowed(key, value, allowed):
    message = message_of(key, value)
    assert key in message
    assert allowed in message


def test_missing_key_is_named():
    values = copy.deepcopy(MINIMAL)
    del values["data"]["target"]
    with pytest.raises(ConfigError, match=r"Missing key 'data\.target'"):
        parse_model(values, origin="config/fraud.yaml")


def test_warning_level_above_the_critical_one_is_refused():
    assert "must not exceed" in message_of("drift.psi_warning", 0.9)


def test_ranking_without_a_group_is_refused():
    assert "data.group is needed" in message_of("problem", "ranking")


def test_business_metric_without_a_value_column_is_refused():
    assert "data.value_column" in message_of("evaluation.business", {"true_positive": 1.0})


def test_duration_on_a_row_clock_is_refused_where_it_was_written():
    values = with_value("evaluation.validation_window", "7d")
    values["data"] |= {"time": "t", "clock": "rows"}
    with pytest.raises(ConfigError, match="counts rows"):
        parse_model(values, origin="config/fraud.yaml")


def test_default_durations_on_a_row_clock_are_not_refused():
    values = copy.deepcopy(MINIMAL)
    values["data"] |= {"time": "t", "clock": "rows"}
    defaults = {"evaluation": {"validation_window": "7d"}}
    assert parse_model(values, defaults=defaults, origin="x").evaluation.validation_window.text == "7d"


def test_configuration_is_frozen():
    config = parse_model(MINIMAL, origin="x")
    with pytest.raises(ValueError, match="frozen"):
        config.model = "other"


def test_excluded_columns_may_be_a_plain_list():
    config = parse_model(with_value("data.exclude", ["id"]), origin="x")
    assert config.data.exclude == {"id": "excluded by hand"}


def test_whole_numbers_are_rows():
    assert (parse_span(500).unit, parse_span(500).amount) == ("rows", 500.0)


def test_configuration_survives_a_round_trip_through_json():
    config = parse_model(with_value("split.holdout", "14d"), origin="x")
    assert config == ModelConfig.model_validate(config.model_dump(mode="json"))
