"""Token buckets hold the rate for ever and the burst at once; keys are found whatever stands beside them."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.serving.access import ApiKey, Buckets, KeyRing, digest_of

AT = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = st.lists(st.floats(0.0, 5.0), min_size=1, max_size=200)


@given(steps=STEPS, rate=st.floats(0.1, 20.0), burst=st.integers(1, 20))
def test_no_stretch_of_time_lets_more_through_than_burst_and_rate(steps, rate, burst):
    buckets, now, let = Buckets(rate, burst), 0.0, []
    for step in steps:
        now += step
        if buckets.take("a", now=now) == 0.0:
            let.append(now)
    for first in range(len(let)):
        for last in range(first, len(let)):
            assert last - first + 1 <= burst + rate * (let[last] - let[first]) + 1e-6


@given(rate=st.floats(0.1, 20.0), burst=st.integers(1, 20))
def test_whoever_waits_as_told_is_let_through(rate, burst):
    buckets = Buckets(rate, burst)
    assert all(buckets.take("a", now=0.0) == 0.0 for _ in range(burst))
    wait = buckets.take("a", now=0.0)
    assert wait > 0.0
    assert buckets.take("a", now=wait * (1 + 1e-9)) == 0.0


def test_names_have_buckets_of_their_own():
    buckets = Buckets(1.0, 1)
    assert [0.0, 0.0, 1.0] == [buckets.take(name, now=0.0) for name in ("a", "b", "a")]


def test_many_names_do_not_fill_the_memory():
    buckets = Buckets(1.0, 1)
    for number in range(30_000):
        buckets.take(f"client-{number}", now=float(number))
    assert len(buckets._filled) <= 10_001


@given(secrets=st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=6, unique=True))
def test_each_key_is_found_by_its_own_secret(secrets):
    ring = KeyRing(
        tuple(ApiKey(name=str(n), digest=digest_of(one), created=AT) for n, one in enumerate(secrets))
    )
    assert [str(n) for n in range(len(secrets))] == [ring.find(one, now=0.0) for one in secrets]
    assert ring.find(b"".join(secrets) + b"-", now=0.0) is None


def test_a_key_survives_its_file():
    key = ApiKey(name="web", digest=digest_of(b"s"), created=AT, expires=AT)
    assert key == ApiKey.from_dict(key.to_dict())
