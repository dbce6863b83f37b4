"""Small configurations for tests of the data layer."""

from evergreen.tasks.core.config import parse_model

CANDIDATES = [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}]


def data_model(problem="binary", *, data=None, **sections):
    """Return a model whose target is ``y`` and whose source is ``rows.csv`` unless said otherwise."""
    values = {
        "model": "tested",
        "problem": problem,
        "data": {"source": "rows.csv", "target": "y", **(data or {})},
        "training": {"candidates": CANDIDATES},
        **sections,
    }
    return parse_model(values, origin="test")
