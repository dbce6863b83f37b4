"""Which file a model's name leads to."""

import pytest

from evergreen.tasks.core.errors import ConfigError, UnknownName
from evergreen.tasks.io.config import find_model


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.yaml").write_text("model: never.this\n")
    (tmp_path / "fraud.yaml").write_text("problem: binary\n")
    (tmp_path / "churn.yaml").write_text("model: prod.churn\nproblem: binary\n")
    return tmp_path


@pytest.mark.parametrize(("name", "file"), [("fraud", "fraud"), ("churn", "churn"), ("prod.churn", "churn")])
def test_a_model_goes_by_the_name_of_its_file_or_of_its_registered_model(folder, name, file):
    assert find_model(name, config_dir=folder) == folder / f"{file}.yaml"


@pytest.mark.parametrize("name", ["prod.fraud", "base", "never.this", "binary"])
def test_no_other_name_leads_to_a_file(folder, name):
    with pytest.raises(UnknownName, match=r"Allowed|allowed|churn"):
        find_model(name, config_dir=folder)


def test_a_registered_model_of_two_files_is_no_answer(folder):
    (folder / "second.yaml").write_text("model: prod.churn\n")
    with pytest.raises(ConfigError, match=r"churn\.yaml and second\.yaml"):
        find_model("prod.churn", config_dir=folder)
