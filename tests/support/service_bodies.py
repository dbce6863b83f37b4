"""Requests for a fuzzed service: bodies that are nearly right or anything at all, and headers of every kind."""

import json

from hypothesis import strategies as st

from evergreen.tasks.core.serving.signature import Column, Signature
from tests.support.bodies import ANY_BODIES, SCALARS, VALUES, near_bodies

SERVED = Signature(
    (Column("x", "number"), Column("z", "number"), Column("colour", "text")), context=("at",), time="at"
)
"""What the model of the tests takes."""
_IDS = st.one_of(st.sampled_from(["p0", "p1", "é", "a" * 255]), st.integers(0, 10**6).map(str))
_OUTCOMES = st.fixed_dictionaries(
    {"id": _IDS, "outcome": st.sampled_from(["yes", "yes", "yes", "no", True, 1, 0.5])},
    optional={"known_at": st.sampled_from(["2027-01-01T00:00:00Z", 1_800_000_000, None, 12.5])},
)


@st.composite
def _near_outcomes(draw):
    """Return outcomes that are right, or wrong in one respect."""
    odd = draw(st.sampled_from(["none", "none", "value", "key", "text", "document"]))
    outcomes = draw(st.lists(_OUTCOMES, min_size=1, max_size=6))
    if odd == "value":
        draw(st.sampled_from(outcomes))[draw(st.sampled_from(["id", "outcome", "known_at"]))] = draw(VALUES)
    if odd == "key":
        draw(st.sampled_from(outcomes)).pop(draw(st.sampled_from(["id", "outcome"])))
        outcomes[0] |= draw(st.dictionaries(st.text(max_size=9), SCALARS, max_size=2))
    document = {"outcomes": outcomes}
    if odd == "document":
        document = draw(st.sampled_from([outcomes, {"outcomes": draw(VALUES)}, document | {"more": 1}]))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    if odd == "text":
        new = draw(
            st.sampled_from(['"id": "p1", "id"', "", "1e999", "NaN", "[[[[[[", '"\\ud800"', '"\\u0000"'])
        )
        text = text.replace(draw(st.sampled_from(['"id"', ":", ",", "]", '"yes"', '"p0"'])), new, 1)
    return text.encode("utf-8", errors="surrogatepass")


PATHS = st.sampled_from(["/models/tested/predict", "/models/tested/outcomes", "/invocations"])
_ROWS = st.one_of(
    near_bodies(SERVED), near_bodies(SERVED), near_bodies(SERVED), ANY_BODIES, st.binary(max_size=400)
)
_TOLD = st.one_of(_near_outcomes(), _near_outcomes(), _near_outcomes(), ANY_BODIES, st.binary(max_size=400))


def bodies_for(path):
    """Return bodies for an endpoint: three of five nearly right, the others anything."""
    return _TOLD if path.endswith("outcomes") else _ROWS


_LINES = st.binary(max_size=30).map(
    lambda line: line.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
)
HEADERS = st.one_of(
    st.just({}),
    st.just({}),
    st.fixed_dictionaries({"Idempotency-Key": st.sampled_from([b"k-1", b"k-2", b"k-3"])}),
    st.dictionaries(
        st.sampled_from(
            ["Idempotency-Key", "Content-Type", "Content-Encoding", "Authorization", "X-API-Key"]
        ),
        st.one_of(
            _LINES, st.sampled_from([b"application/json; charset=utf-8", b"text/csv", b"Bearer x", b"gzip"])
        ),
        max_size=2,
    ),
)
