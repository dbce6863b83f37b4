"""What a team wrote itself comes in by dotted path."""

import numpy as np
import pytest

from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.metrics.registry import metrics_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.registry import import_path
from evergreen.tasks.io.config import custom_metrics
from tests.support.training_data import model_config

OWN = {"path": "tests.support.training_data:share_of_hits", "greater_is_better": True, "bounded": True}


@pytest.mark.parametrize("path", [OWN["path"], OWN["path"].replace(":", ".")])
def test_both_ways_to_write_a_dotted_path_work(path):
    assert "share_of_hits" == import_path(path, key="k").__name__


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere", "no dotted path"),
        ("nowhere_at_all.metrics:f", "cannot be imported"),
        ("tests.support.training_data:share_of_hit", "Did you mean 'share_of_hits'"),
        ("tests.support.training_data:NOT_A_FUNCTION", "has no function"),
    ],
)
def test_a_path_that_leads_nowhere_is_said_with_its_key(path, said):
    with pytest.raises(ConfigError, match=said):
        import_path(path, key="evaluation.custom_metrics.own")


def test_a_metric_of_the_teams_own_can_decide():
    config = model_config(evaluation={"metric": "own", "custom_metrics": {"own": OWN}})
    metric = metrics_of(config, custom=custom_metrics(config))[0]
    scored = Scored(y=np.array([1, 1, 0]), score=np.array([0.9, 0.1, 0.9]), classes=(0, 1), positive_class=1)
    assert ("own", True, 0.5) == (metric.name, metric.greater_is_better, metric(scored))
