"""Renamed keys and values: understood with a warning that names the new word; one default for one quantity."""

import warnings

import pytest

from evergreen.tasks.core.config.model import ModelConfig, overlay_model, parse_model
from evergreen.tasks.core.config.renamed import RENAMED_KEYS, RENAMED_VALUES
from evergreen.tasks.core.errors import ConfigError, RenamedWord
from evergreen.tasks.core.replay.setup import parse_policies

MINIMAL = {
    "model": "fraud",
    "problem": "binary",
    "data": {"source": "payments.csv", "target": "fraud"},
    "training": {
        "candidates": [{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}]
    },
}
WRITTEN = {
    "data.value": "amount",
    "promotion.path": "ab",
    "live.longest": "5d",
    "live.follow_up": "2d",
    "live.clip": 0.95,
    "alerts.max_silence": "3h",
}


def parsed(**sections):
    values = {**MINIMAL, **{name: {**MINIMAL.get(name, {}), **keys} for name, keys in sections.items()}}
    return parse_model(values, origin="config/fraud.yaml")


@pytest.mark.parametrize("old", RENAMED_KEYS)
def test_an_old_key_is_understood_and_its_warning_names_the_new_one(old):
    section, key = old.split(".")
    new = RENAMED_KEYS[old]
    with pytest.warns(RenamedWord, match=rf"'{old}' in config/fraud.yaml is now called '{section}.{new}'"):
        config = parsed(**{section: {key: WRITTEN[old]}})
    assert config == parsed(**{section: {new: WRITTEN[old]}})
    assert WRITTEN[old] == getattr(getattr(config, section), new) or WRITTEN[old] == str(
        getattr(getattr(config, section), new)
    )


@pytest.mark.parametrize("key", RENAMED_VALUES)
def test_an_old_value_is_understood_and_its_warning_names_the_new_one(key):
    section, name = key.split(".")
    ((old, new),) = RENAMED_VALUES[key].items()
    with pytest.warns(RenamedWord, match=f"'{key}: {old}' .* now called '{key}: {new}'"):
        config = parsed(**{section: {name: old}})
    assert config == parsed(**{section: {name: new}})


def test_each_new_name_is_a_key_and_no_old_one_is():
    for old, new in RENAMED_KEYS.items():
        section, key = old.split(".")
        keys = ModelConfig.model_fields[section].annotation.model_fields
        assert (True, False) == (new in keys, key in keys), old


def test_todays_words_warn_of_nothing_and_label_delay_of_data_is_left():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "2d" == str(parsed(data={"label_delay": "2d"}).data.label_delay)


def test_a_key_under_both_names_is_refused():
    with pytest.raises(ConfigError, match=r"'live.longest' and 'live.max_duration' .* Remove 'live.longest'"):
        parsed(live={"longest": "5d", "max_duration": "6d"})


def test_an_old_key_of_the_base_file_is_understood_too():
    with pytest.warns(RenamedWord, match="'live.clip' in base.yaml"):
        config = parse_model(MINIMAL, origin="x", defaults={"live": {"clip": 0.9}})
    assert 0.9 == config.live.winsorize


def test_a_replay_understands_the_old_name_of_the_preset():
    with pytest.warns(RenamedWord, match="'literal' in --policies is now called 'fixed_thresholds'"):
        (spec,) = parse_policies("literal", parsed())
    assert ("fixed_thresholds", "fixed_thresholds") == (spec.name, spec.config.drift.policy)


def test_a_quantity_has_one_default_that_each_section_may_override():
    config = parsed(drift={"psi_critical": 0.4, "performance_threshold": 0.1, "concept_threshold": 0.2})
    assert (0.4, 0.1) == (config.drift_critical, config.performance_drop)
    expected = {"data": 0.4, "prediction": 0.4, "outcome": 0.02, "concept": 0.2, "performance": 0.1}
    assert expected == config.retraining_limits
    own = {"retraining": {"drift_threshold": 0.0, "performance_drop": 0.3}, "alerts": {"drift_critical": 0.5}}
    changed = overlay_model(config, own, origin="test")
    assert (0.5, 0.1) == (changed.drift_critical, changed.performance_drop)
    assert {**expected, "data": 0.0, "prediction": 0.0, "performance": 0.3} == changed.retraining_limits
