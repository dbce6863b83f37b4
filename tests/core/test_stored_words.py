"""Words of an earlier version: states are ours alone, stored ones are read in today's, and hashed as they were."""

import inspect
import re
from pathlib import Path

from prefect import flow_engine, states, task_engine
from prefect.client.schemas.objects import StateType

from evergreen.tasks.core.stored_words import REASON_CODES, STATES, in_todays_words
from evergreen.tasks.core.verdict import State


def test_no_state_of_a_decision_bears_a_name_of_prefects_own():
    code = "".join(inspect.getsource(module) for module in (states, task_engine, flow_engine))
    named = set(re.findall(r'\bname="([A-Z]\w+)"|^def ([A-Z]\w+)', code, re.MULTILINE))
    theirs = {name for pair in named for name in pair} | {kind.value.capitalize() for kind in StateType}
    assert {"RolledBack", "Completed", "Paused", "Retrying"} <= theirs
    assert {"Failed"} == theirs & {state.value for state in State}  # it ends Failed at Prefect as well


def test_each_old_state_is_read_as_one_of_today_and_no_old_name_is_in_use():
    assert set(STATES.values()) <= {state.value for state in State}
    assert not set(STATES) & {state.value for state in State}


def test_each_old_code_is_read_as_one_that_is_in_use_and_stands_nowhere_else():
    root = Path(__file__).parents[2]
    files = [path for folder in ("tasks", "flows", "deployments") for path in (root / folder).rglob("*.py")]
    code = "".join(path.read_text() for path in files if path.name != "stored_words.py")
    assert [] == [old for old in REASON_CODES if f'"{old}"' in code]
    assert [] == [new for new in REASON_CODES.values() if f'"{new}"' not in code]
    assert [{"code": new} for new in REASON_CODES.values()] == in_todays_words(
        [{"code": old} for old in REASON_CODES]
    )


def test_states_and_codes_are_read_anew_and_everything_else_is_left():
    stored = {
        "state": "Kept",
        "stages": [{"state": "Held", "why": "Held"}],
        "Quiet": 1,
        "codes": {"state": None},
    }
    assert {
        "state": "ChampionKept",
        "stages": [{"state": "Blocked", "why": "Held"}],
        "Quiet": 1,
        "codes": {"state": None},
    } == in_todays_words(stored)
