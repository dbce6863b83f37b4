"""Bodies of requests: good ones in every shape, and hypothesis strategies for what else may arrive."""

import json

from hypothesis import strategies as st

from tasks.core.serving.decode import Limits
from tasks.core.serving.signature import Column, Signature

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
SMALL = Limits(body_bytes=4_000, rows=6, text=40)
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


def rows_of(signature, *, values=SCALARS):
    """Return a strategy of rows: mostly as the signature wants them, sometimes with other values, less or more."""
    good = {
        "number": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5), st.none()),
        "text": st.one_of(st.sampled_from(["red", "a\\b", 'say "so"', "é"]), st.none()),
        "any": st.one_of(st.integers(-5, 5), st.sampled_from(["red", True, 2.5, None])),
        "int64": st.integers(-(2**60), 2**60),
        "boolean": st.booleans(),
    }
    fields = {
        column.name: st.one_of(*[good[column.only or column.kind]] * 5, values)
        for column in signature.columns
    }
    extra = dict.fromkeys((*signature.context, "unknown"), SCALARS) if signature.context else {"z": SCALARS}
    return st.fixed_dictionaries(fields, optional=extra)


@st.composite
def near_bodies(draw, signature):
    """Return bodies that are almost right: the right shape with odd values, keys and punctuation."""
    rows = draw(st.lists(rows_of(signature), max_size=7))
    names = list(signature.names) if draw(st.booleans()) else [*signature.names, *signature.context]
    form = draw(st.sampled_from(FORMS))
    if form in ("records", "dataframe_records", "instances") and draw(st.booleans()):
        document = {form: rows}
    else:
        filled = [{name: row.get(name) for name in names} for row in rows]
        document = in_form(form, filled, names=names, listed=draw(st.booleans()))
    beside = st.one_of(VALUES, st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=7))
    document |= draw(
        st.dictionaries(st.sampled_from(["ids", "entities", "at", "index", "params"]), beside, max_size=2)
    )
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        old = draw(st.sampled_from(['"x"', ":", ",", "]", "0", '"records"', "null"]))
        text = text.replace(
            old, draw(st.sampled_from(['"n"', '"x","x"', "{}", "", "1e999", "NaN", "[[[[[[", "\\u12"])), 1
        )
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
