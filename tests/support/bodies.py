"""Bodies of requests: good ones in every shape, and hypothesis strategies for what else may arrive."""

import json

from hypothesis import strategies as st

from evergreen.tasks.core.serving.answers import RequestLimits
from evergreen.tasks.core.serving.signature import Column, Signature

NUMBERS = Signature((Column("x", "number"), Column("y y", "number")))
MIXED = Signature(
    (
        Column("x", "number"),
        Column("n", "number", nullable=False, only="int64"),
        Column("colour", "text"),
        Column("grade", "any"),
        Column("flag", "any", nullable=False, only="boolean"),
    ),
    context=("who", "when"),
    entity="who",
    time="when",
)
SMALL = RequestLimits(body_bytes=4_000, rows=6, text=40)
FORMS = ("records", "columns", "dataframe_split", "dataframe_records", "inputs", "instances")


def dumps(value):
    return json.dumps(value).encode()


def in_form(form, rows, *, names, listed=False):
    """Return rows (by column) in one of the accepted shapes."""
    if form == "columns" or (form == "inputs" and not listed):
        return {form: {name: [row[name] for row in rows] for name in names}}
    if form == "dataframe_split":
        return {form: {"columns": list(names), "data": [[row[name] for name in names] for row in rows]}}
    if listed:
        return {form: [[row[name] for name in names] for row in rows]}
    return {form: [{name: row[name] for name in names} for row in rows]}


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**400), max_value=10**400),
    st.floats(),
    st.text(max_size=50),
    st.sampled_from(["", "red", "2026-01-02", "NaN", "\u0000", '"', "\\", "1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["x", "y y", "who", "a"]), inner, max_size=3),
    ),
    max_leaves=8,
)


GOOD = {
    "number": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5), st.none()),
    "text": st.sampled_from(["red", "blue", "", None, "a\\b", 'say "so"', "é", "Zeichen"]),
    "any": st.sampled_from([-5, 3, 2.5, True, "red", None, "3"]),
    "int64": st.integers(-(2**50), 2**50),
    "boolean": st.booleans(),
}
_TIMES = st.sampled_from(["2026-01-02", 12.5, None])
CONTEXT = {"who": st.sampled_from(["a", 7, None]), "when": _TIMES, "at": _TIMES}
BESIDE = {
    "ids": lambda n: st.just([f"p{i}" for i in range(n)]),
    "entities": lambda n: st.lists(st.sampled_from(["a", "é", 7, None]), min_size=n, max_size=n),
    "at": lambda n: st.one_of(
        st.sampled_from(["2026-01-02T03:04:05Z", 12, None]), st.just(["2026-01-02"] * n)
    ),
}
ODDITIES = ("none", "none", "none", "value", "column", "beside", "text")


def good_rows(signature):
    """Return a strategy of rows as the signature wants them, some with context."""
    fields = {column.name: GOOD[column.only or column.kind] for column in signature.columns}
    context = {name: CONTEXT[name] for name in signature.context}
    return st.lists(st.fixed_dictionaries(fields, optional=context), min_size=1, max_size=SMALL.rows)


@st.composite
def near_bodies(draw, signature):
    """Return bodies that are right, or wrong in one respect: a value, a column, what stands beside, or the text."""
    odd = draw(st.sampled_from(ODDITIES))
    rows = draw(good_rows(signature))
    if odd == "value":
        rows[draw(st.integers(0, len(rows) - 1))][draw(st.sampled_from(signature.names))] = draw(VALUES)
    if odd == "column":
        draw(st.sampled_from(rows)).pop(draw(st.sampled_from(signature.names)))
        rows[0] |= draw(st.dictionaries(st.sampled_from(["unknown", *signature.names]), SCALARS, max_size=1))
    form = draw(st.sampled_from(FORMS))
    names = list(draw(st.permutations(signature.names)))
    whole = all(name in row for row in rows for name in names)
    if form in ("records", "dataframe_records", "instances") or not whole:
        document = {form: rows}
    else:
        listed = form == "inputs" and draw(st.booleans())
        document = in_form(form, rows, names=signature.names if listed else names, listed=listed)
    for name in draw(st.lists(st.sampled_from(list(BESIDE)), max_size=2)):
        document[name] = draw(VALUES if odd == "beside" else BESIDE[name](len(rows)))
    if odd == "beside":
        document |= draw(st.dictionaries(st.sampled_from(["params", *FORMS]), VALUES, max_size=1))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    if odd == "text":
        old = draw(st.sampled_from(['"x"', ":", ",", "]", "0", '"records"', "null", "{"]))
        new = draw(st.sampled_from(['"n"', '"x":1,"x"', '{"x":1,', "", "1e999", "NaN", "[[[[[[", "\\u12"]))
        text = text.replace(old, new, 1)
    return text.encode("utf-8", errors="surrogatepass")


ANY_BODIES = st.one_of(
    st.binary(max_size=60),
    VALUES.map(lambda value: json.dumps(value).encode("utf-8", errors="surrogatepass")),
    st.dictionaries(st.sampled_from([*FORMS, "ids", "at", "entities"]), VALUES, max_size=3).map(
        lambda value: json.dumps(value).encode("utf-8", errors="surrogatepass")
    ),
    near_bodies(NUMBERS),
    near_bodies(MIXED),
)
