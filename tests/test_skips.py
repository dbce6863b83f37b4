from types import SimpleNamespace

import pytest

from tests.support.skips import REASON, forbid


def skipped(reason):
    return SimpleNamespace(skipped=True, outcome="skipped", longrepr=("file.py", 3, f"Skipped: {reason}"))


@pytest.mark.parametrize(
    ("reason", "ci", "outcome"),
    [("no browser", "true", "failed"), ("no browser", "", "skipped"), (REASON, "true", "skipped")],
)
def test_only_absent_real_data_may_skip_in_ci(reason, ci, outcome):
    assert outcome == forbid(skipped(reason), environ={"CI": ci}).outcome
