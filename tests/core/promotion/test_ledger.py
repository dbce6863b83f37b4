"""Entries and their chain: whatever is changed, removed, swapped or forged is found."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.promotion.ledger import (
    GENESIS,
    canonical_json,
    check_chain,
    hash_entry,
    next_entry,
    parse_entry_id,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(st.text(), json_values, max_size=4)


def chain(length, *, model="fraud", stream="plans"):
    entries = []
    for number in range(length):
        last = entries[-1] if entries else None
        at = NOW + timedelta(minutes=number)
        payload = {"number": number}
        entries.append(next_entry(last, model=model, stream=stream, at=at, kind="planned", payload=payload))
    return entries


def codes(entries):
    return [(fault.entry_id, fault.code) for fault in check_chain(entries)]


def test_the_hash_of_a_known_entry_is_that_of_its_fields_as_one_json_list():
    text = (
        '["fraud","plans",1,"2026-03-01T12:00:00.000000+00:00","planned","{\\"a\\":null,\\"b\\":1}","'
        + "0" * 64
        + '"]'
    )
    digest = hash_entry(
        model="fraud",
        stream="plans",
        seq=1,
        at=NOW,
        kind="planned",
        payload={"b": 1, "a": None},
        prev_hash=GENESIS,
    )
    assert digest == hashlib.sha256(text.encode()).hexdigest()
    assert digest == "3df35d0bf269409ce395ae92902bc8fa3dfb5f9164532c496c60d748e5f112fa"


def test_an_untouched_chain_has_no_fault():
    assert check_chain([*chain(5), *chain(3, stream="alpha"), *chain(2, model="churn")]) == ()


def test_the_order_of_reading_does_not_matter():
    assert check_chain(reversed(chain(5))) == ()


@pytest.mark.parametrize(
    "change", [{"payload": {"number": 7}}, {"kind": "closed"}, {"at": NOW + timedelta(days=9)}]
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_changed_entry_is_found_wherever_it_stands(change, place):
    entries = chain(5)
    entries[place] = replace(entries[place], **change)
    assert codes(entries) == [(f"fraud/plans/{place + 1}", "changed")]


def test_a_changed_entry_with_its_hash_made_to_fit_breaks_the_link_after_it():
    entries = chain(4)
    forged = next_entry(entries[0], model="fraud", stream="plans", at=NOW, kind="planned", payload={"x": 1})
    entries[1] = forged
    assert codes(entries) == [("fraud/plans/3", "broken_link")]


def test_a_removed_entry_leaves_a_gap():
    entries = chain(4)
    del entries[1]
    assert codes(entries) == [("fraud/plans/3", "gap")]


def test_a_removed_first_entry_leaves_a_gap():
    assert codes(chain(3)[1:]) == [("fraud/plans/2", "gap")]


def test_an_entry_moved_to_another_stream_is_found():
    moved = replace(chain(1)[0], stream="alpha")
    assert codes([moved]) == [("fraud/alpha/1", "changed")]


@given(payload=payloads)
def test_a_payload_survives_its_own_json(payload):
    assert json.loads(canonical_json(payload)) == payload


def test_a_payload_with_a_broken_character_can_still_be_hashed_and_kept():
    entry = next_entry(None, model="m", stream="s", at=NOW, kind="k", payload={"file": "caf\udce9"})
    assert check_chain([entry]) == ()


@given(payload=payloads, other=payloads)
def test_two_payloads_share_a_hash_only_when_they_are_one_json(payload, other):
    common = {"model": "m", "stream": "s", "seq": 1, "at": NOW, "kind": "k", "prev_hash": GENESIS}
    same = canonical_json(payload) == canonical_json(other)
    assert (hash_entry(payload=payload, **common) == hash_entry(payload=other, **common)) == same


@given(left=st.text(min_size=1), right=st.text(min_size=1))
def test_moving_a_letter_from_one_field_to_the_next_changes_the_hash(left, right):
    common = {"stream": "s", "seq": 1, "at": NOW, "payload": {}, "prev_hash": GENESIS}
    one = hash_entry(model=left + right, kind="k", **common)
    other = hash_entry(model=left, kind=right + "k", **common)
    assert one != other


def test_an_entry_holds_what_a_reader_will_get_back():
    entry = next_entry(None, model="m", stream="s", at=NOW, kind="k", payload={"tuple": (1, 2)})
    assert entry.payload == {"tuple": [1, 2]}


@pytest.mark.parametrize("payload", [{"x": float("inf")}, {"x": {1, 2}}, {"x": NOW}])
def test_what_json_cannot_say_is_refused_with_a_remedy(payload):
    with pytest.raises(InputError, match=r"Turn arrays into lists"):
        next_entry(None, model="m", stream="s", at=NOW, kind="k", payload=payload)


@pytest.mark.parametrize(("model", "stream"), [("", "plans"), ("fraud", ""), ("fraud", "a/b")])
def test_a_key_that_could_not_be_read_back_from_an_id_is_refused(model, stream):
    with pytest.raises(InputError, match="unusable"):
        next_entry(None, model=model, stream=stream, at=NOW, kind="k", payload={})


@given(model=st.text(min_size=1), seq=st.integers(1, 10**9))
def test_an_id_leads_back_to_its_key_for_any_model_name(model, seq):
    assert parse_entry_id(f"{model}/plans/{seq}") == (model, "plans", seq)


@pytest.mark.parametrize(
    "entry_id", ["", "fraud", "fraud/plans", "fraud/plans/", "fraud//1", "/plans/1", "a/b/-1"]
)
def test_what_is_no_id_is_named(entry_id):
    with pytest.raises(UnknownName, match="Unknown ledger entry"):
        parse_entry_id(entry_id)
