"""The reference of a version: its grid lives as long as it fits, and decisions are those of the version."""

import numpy as np
import pytest

from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.profiles.reference import answer_frame, fit_inputs, reference_profiles
from evergreen.tasks.core.training.scoring import decided_by
from tests.support.training_data import make_rows, model_config, schema


def fit(rows, earlier=None, **data):
    return fit_inputs(rows, schema=schema(), config=model_config(data=data), earlier=earlier)


@pytest.fixture(scope="module")
def old():
    return fit(make_rows(n=4000)).profile.grid


def test_a_grid_that_fits_is_kept_so_that_profiles_add_up(old):
    found = fit(make_rows(n=4000, seed=1), old)
    assert old.id == found.profile.grid.id
    assert found.reason.startswith("kept from the version before")
    both = found.profile + fit(make_rows(n=4000), old).profile
    assert 8000 == both.columns["signal"].n


def test_a_column_that_moved_far_has_a_new_grid(old):
    rows = make_rows(n=4000, seed=1)
    found = fit(Rows(rows.frame.assign(signal=rows.frame["signal"] + 5), rows.positions), old)
    assert old.id != found.profile.grid.id
    assert "column 'signal' fall into one cell" in found.reason


def test_another_schema_has_a_new_grid(old):
    found = fit_inputs(
        make_rows(n=4000), schema=schema(numeric=("signal",)), config=model_config(), earlier=old
    )
    assert {"signal", "colour", "@outcome"} == set(found.profile.grid.columns)
    assert "laid anew: column 'noise' is gone" == found.reason


def test_a_column_that_became_private_has_a_new_grid(old):
    found = fit(make_rows(n=4000), old, private=["colour"])
    assert found.profile.grid.columns["colour"].hashed
    assert "private" in found.reason


def test_a_new_class_has_a_new_grid(old):
    rows = make_rows(n=4000, seed=1)
    target = rows.frame["y"].copy()
    target.iloc[:3] = "perhaps"  # far fewer than 2 %
    found = fit(Rows(rows.frame.assign(y=target), rows.positions), old)
    assert "laid anew: the outcome has a new class" == found.reason
    assert "perhaps" in found.profile.grid.columns["@outcome"].categories


def test_a_model_without_an_earlier_version_has_a_grid_of_its_own():
    assert "laid over these rows: the model had none" == fit(make_rows(n=400)).reason


def test_the_answers_grid_belongs_to_the_version(old):
    rows = make_rows(n=500)
    truth = rows.frame["y"].to_numpy()
    scored = Scored(
        y=truth, score=np.linspace(0, 1, 500), label=truth, classes=("no", "yes"), positive_class="yes"
    )
    plain = reference_profiles(
        rows, scored, schema=schema(), config=model_config(), score_source="out_of_fold", earlier=old
    )
    assert Grid.from_dict(plain["answers"]["grid"]).columns["@score"].edges[0] == pytest.approx(
        1 / 499, abs=0.01
    )
    assert isinstance(plain["grid"], str)


def test_a_private_target_shows_no_class_name():
    rows = make_rows(n=500)
    truth = rows.frame["y"].to_numpy()
    scored = Scored(
        y=truth, score=np.linspace(0, 1, 500), label=truth, classes=("no", "yes"), positive_class="yes"
    )
    plain = reference_profiles(
        rows,
        scored,
        schema=schema(),
        config=model_config(data={"private": ["y"]}),
        score_source="out_of_fold",
    )
    for name in ("inputs", "answers"):
        columns = Profile.from_dict(plain[name]).grid.columns
        assert {True} == {columns[one].hashed for one in ("@outcome", "@decision") if one in columns}
        assert not {"yes", "no"} & set(columns["@outcome"].categories)


def test_scores_out_of_fold_are_decided_by_the_versions_own_threshold():
    score = np.array([0.1, 0.3, 0.6, 0.9])
    scored = Scored(y=np.zeros(4), score=score, label=(score >= 0.5).astype(int), classes=(0, 1))
    assert [0, 1, 1, 1] == decided_by(scored, 0.2).label.tolist()
    several = Scored(y=np.zeros(2), score=np.eye(3)[:2], label=np.array([0, 1]), classes=(0, 1, 2))
    assert several is decided_by(several, 0.2)


def test_the_scores_of_a_private_targets_classes_are_numbered():
    score = np.full((500, 3), 1 / 3)
    scored = Scored(y=np.repeat(["low", "mid"], 250), score=score, classes=("low", "mid", "top"))
    config = model_config("multiclass", data={"private": ["y"]})
    assert {"@outcome", "@score:1", "@score:2", "@score:3"} == set(answer_frame(scored, config=config))
    assert "@score:low" in answer_frame(scored, config=model_config("multiclass"))
