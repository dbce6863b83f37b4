"""What becomes of a stage's result that the stage has not recorded itself."""

import pytest

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.runtime.result import _recorded

ASKED = {"model": "nobody-knows-it", "dry_run": False}


def test_a_look_back_that_calls_itself_a_dry_run_leaves_no_entry():
    result = StageResult(state=State.NO_DRIFT, model="nobody-knows-it", details={"dry_run": True})
    assert _recorded("monitor", result, ASKED) is result


def test_any_other_result_is_to_be_recorded(monkeypatch, tmp_path):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    with pytest.raises(InputError, match="nobody-knows-it"):
        _recorded("monitor", StageResult(state=State.NO_DRIFT, model="nobody-knows-it"), ASKED)
