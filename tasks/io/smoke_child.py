"""What the fresh process of a smoke test does (`evergreen.tasks.io.smoke_pool` forks it).

FOLDER holds ``request.json`` and perhaps ``rows.parquet``; the answer is written to ``result.json``. Whatever
a model raises is an observation here, not an error: it fails the probe and is reported to the parent.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

_SECONDS = 3.0
_WARM_UPS = 3
_LONGEST = 300
_UNSEEN_CATEGORY = "evergreen-never-seen"
_NUMBERS = {"double", "float"}
_INTEGERS = {"long": np.int64, "integer": np.int32}
_UNCLEAR = (IndexError, KeyError, AttributeError, NameError, AssertionError, ZeroDivisionError)
_ROWS_IN_MESSAGE = re.compile(r"data '.*' (?=with schema)")
PredictCall = Callable[[pd.DataFrame], np.ndarray]


def main(folder: Path) -> None:
    """Answer one request."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    report: dict[str, Any] = {"uri": request["uri"], "probes": []}
    try:
        report |= _fetch(request["uri"])
        started = time.perf_counter()
        # its warnings would not be read, and for them it reads what every installed package consists of
        model = mlflow.pyfunc.load_model(report.pop("path"), suppress_warnings=True)
        report["load_seconds"] = time.perf_counter() - started
    except Exception as error:
        report.pop("path", None)
        report["probes"].append(_probe("load", passed=False, message=_error_text(error)))
    else:
        report["probes"].append(_probe("load", passed=True, message=f"{report['load_seconds']:.2f} s"))
        given = pd.read_parquet(folder / "rows.parquet") if request["has_rows"] else None
        _probe_model(model, given, report, batch_rows=request["batch_rows"])
    (folder / "result.json").write_text(json.dumps(report), encoding="utf-8")


def _fetch(uri: str) -> dict[str, Any]:
    """Download the model's files once; return their path and size, and the version the address led to."""
    path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    name, _, alias = uri.removeprefix("models:/").partition("@")
    number: Any = uri.rpartition("/")[2]
    if alias:
        number = mlflow.MlflowClient().get_model_version_by_alias(name, alias).version
    return {"path": str(path), "size_mb": size / 1e6, "version": int(number)}


def _probe_model(model: Any, given: pd.DataFrame | None, report: dict[str, Any], *, batch_rows: int) -> None:
    """Put every probe to a loaded model, then time it."""
    types = _types(model)
    rows = _conform(_rows(model, given, types), types)

    def ask(frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(model.predict(frame))

    one = rows.head(1)
    numeric = _columns(one, types, _NUMBERS, pd.api.types.is_float_dtype)
    text = _columns(one, types, {"string"}, pd.api.types.is_object_dtype)
    probes: dict[str, Callable[[], str]] = {
        "one_row": lambda: _expect_answers(ask, one),
        "empty_frame": lambda: _expect_nothing(ask, rows.head(0)),
        "missing_values": lambda: _expect_answers(ask, _without_values(one, numeric, text)),
        "unseen_category": lambda: _expect_answers(
            ask, one.assign(**dict.fromkeys(text, _UNSEEN_CATEGORY)) if text else None
        ),
        "column_order": lambda: _expect_same(ask, one, one[one.columns[::-1]]),
        "repeatable": lambda: _expect_same(ask, one, one),
        "wrong_type": lambda: _expect_refusal(
            ask, one.assign(**{numeric[0]: "not a number"}) if numeric else None
        ),
    }
    report["probes"] += [_try(name, probe) for name, probe in probes.items()]
    if batch_rows and report["probes"][1]["passed"]:
        batch = rows.iloc[np.arange(batch_rows) % len(rows)].reset_index(drop=True)
        report["single"] = _time(ask, one, most=100)
        report["batch"] = _time(ask, batch, most=20)


def _try(name: str, probe: Callable[[], str]) -> dict[str, Any]:
    try:
        return _probe(name, passed=True, message=probe())
    except Exception as error:
        return _probe(name, passed=False, message=_error_text(error))


def _probe(name: str, *, passed: bool, message: str) -> dict[str, Any]:
    return {"name": name, "passed": passed, "message": message}


def _error_text(error: Exception) -> str:
    first = _ROWS_IN_MESSAGE.sub("data ", " ".join(str(error).split()))
    shown = first if len(first) <= _LONGEST else f"{first[: _LONGEST - 1]}…"
    return f"{type(error).__name__}: {shown or 'no message'}"


def _expect_answers(ask: PredictCall, frame: pd.DataFrame | None) -> str:
    """Require a finite number or a class for each row."""
    if frame is None:
        return "nothing of the kind among the features"
    answers = ask(frame)
    if len(answers) != len(frame):
        raise ValueError(f"{len(answers)} answers for {len(frame)} rows")
    if pd.isna(answers).any() or (answers.dtype.kind == "f" and not np.isfinite(answers).all()):
        raise ValueError(f"the answer is {answers.ravel()[:3].tolist()}, not a finite number or a class")
    return f"answered {answers.ravel()[:3].tolist()}"


def _expect_nothing(ask: PredictCall, frame: pd.DataFrame) -> str:
    """Require no answers, or an error that says what is wrong."""
    try:
        answers = ask(frame)
    except _UNCLEAR:
        raise
    except Exception as error:
        return f"refused: {_error_text(error)}"
    if len(answers):
        raise ValueError(f"{len(answers)} answers for no rows")
    return "no rows, no answers"


def _expect_same(ask: PredictCall, first: pd.DataFrame, second: pd.DataFrame) -> str:
    """Require the same answer to both."""
    one, two = ask(first), ask(second)
    same = np.allclose(one, two, rtol=1e-9, atol=1e-12) if one.dtype.kind == "f" else np.array_equal(one, two)
    if not same:
        raise ValueError(f"the answer changed from {one.ravel()[:3].tolist()} to {two.ravel()[:3].tolist()}")
    return "the same answer"


def _expect_refusal(ask: PredictCall, frame: pd.DataFrame | None) -> str:
    """Require a clear error."""
    if frame is None:
        return "no numeric feature"
    try:
        answers = ask(frame)
    except _UNCLEAR as error:
        raise ValueError(f"the error is not clear: {_error_text(error)}") from None
    except Exception as error:
        return f"refused: {_error_text(error)}"
    raise ValueError(f"text in a numeric column was answered with {answers.ravel()[:3].tolist()}")


def _types(model: Any) -> dict[str, str]:
    """Return the signature's type by column; empty without a signature."""
    schema = model.metadata.get_input_schema()
    if schema is None or not schema.has_input_names():
        return {}
    return {spec.name: str(getattr(spec.type, "name", spec.type)).lower() for spec in schema.inputs}


def _rows(model: Any, given: pd.DataFrame | None, types: dict[str, str]) -> pd.DataFrame:
    """Return rows to ask with: those given, else the input example, else made up from the signature."""
    example = model.input_example if given is None else given
    if isinstance(example, pd.DataFrame) and len(example) and set(types) <= set(example.columns):
        return example[list(types)] if types else example
    if not types:
        raise SystemExit("The model has no signature and no input example; log one of them with it.")
    made_up = {"string": "x", "boolean": False, "datetime": pd.Timestamp("2000-01-01")}
    return pd.DataFrame([{name: made_up.get(kind, 0) for name, kind in types.items()}])


def _conform(rows: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    """Turn values into the signature's: floats where it says so, whole numbers where they are whole, text or None."""
    wanted: dict[str, Any] = {name: np.float64 for name, kind in types.items() if kind in _NUMBERS}
    for name, kind in types.items():
        if kind in _INTEGERS and rows[name].notna().all() and (rows[name] % 1 == 0).all():
            wanted[name] = _INTEGERS[kind]
    filled = {name: _words(rows[name]) for name, kind in types.items() if kind == "string"}
    return rows.astype(wanted).assign(**filled)


def _words(column: pd.Series) -> pd.Series:
    values = [value if isinstance(value, str) else None for value in column]
    return pd.Series(values, index=column.index, dtype=object)


def _columns(
    rows: pd.DataFrame, types: dict[str, str], kinds: set[str], is_kind: Callable[[Any], bool]
) -> list[str]:
    """Return the columns of some kinds: by the signature, without one by what they hold."""
    if types:
        return [name for name, kind in types.items() if kind in kinds]
    return [name for name in rows.columns if is_kind(rows[name].dtype)]


def _without_values(one: pd.DataFrame, numeric: list[str], text: list[str]) -> pd.DataFrame | None:
    empty: dict[str, Any] = dict.fromkeys(numeric, np.nan)
    empty |= {name: pd.Series([None], index=one.index, dtype=object) for name in text}
    return one.assign(**empty) if empty else None


def _time(ask: PredictCall, frame: pd.DataFrame, *, most: int) -> dict[str, Any]:
    """Time up to ``most`` requests after three warm-ups, for three seconds at most."""
    for _ in range(_WARM_UPS):
        ask(frame)
    durations: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(durations) < most and (not durations or time.perf_counter() < end):
        started = time.perf_counter()
        ask(frame)
        durations.append((time.perf_counter() - started) * 1e3)
    p50, p95 = np.percentile(durations, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "rows": len(frame), "repeats": len(durations)}
