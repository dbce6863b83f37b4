"""Smoke-test a registered version in a separate process, as a serving machine would load it."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evergreen.tasks.core.promotion.plan import CANDIDATE, CHALLENGER, CHAMPION
from evergreen.tasks.core.validation.smoke import SmokeProbe, SmokeReport, judge_smoke
from evergreen.tasks.core.verdict import Verdict
from evergreen.tasks.io.mlflow_store.registry import Registry
from evergreen.tasks.io.smoke_pool import SMOKE_POOL

if TYPE_CHECKING:
    import pandas as pd

_TIMEOUT_S = 180.0
_SAMPLE_ROWS = 1_000


def smoke_version(
    *,
    model: str,
    version: int,
    registry: Registry,
    tracking_uri: str,
    rows: pd.DataFrame | None = None,
    batch_rows: int = 1_000,
    timeout_s: float = _TIMEOUT_S,
) -> SmokeReport:
    """Load a version in a fresh process and put every probe to it.

    Parameters
    ----------
    model, version : str, int
        The registered version; it is loaded by an alias that points at it, else by its number.
    registry : Registry
        Where its aliases are read.
    tracking_uri : str
        The MLflow store the process connects to.
    rows : DataFrame, optional
        Feature rows to ask with (the first 1,000 are used); by default the model's own input example, else
        rows made up from its signature.
    batch_rows : int
        Rows of the batch whose latency is measured; 0 measures no latency.
    timeout_s : float
        A process that takes longer is ended and fails.

    Returns
    -------
    SmokeReport
        A process that dies fails the probe ``process``; it is never an exception here.
    """
    aliases = registry.aliases(model)
    alias = next((one for one in (CHAMPION, CHALLENGER, CANDIDATE) if aliases.get(one) == version), None)
    uri = f"models:/{model}@{alias}" if alias else f"models:/{model}/{version}"
    with tempfile.TemporaryDirectory(prefix="evergreen-smoke-") as folder:
        place = Path(folder)
        request = {"uri": uri, "batch_rows": batch_rows, "has_rows": rows is not None}
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        if rows is not None:
            _storable(rows.head(_SAMPLE_ROWS)).to_parquet(place / "rows.parquet", index=False)
        trouble = _run(place, tracking_uri=tracking_uri, timeout_s=timeout_s)
        if trouble is not None:
            return SmokeReport(uri=uri, probes=(trouble,))
        report = SmokeReport.from_dict(json.loads((place / "result.json").read_text(encoding="utf-8")))
    if report.version in (None, version):
        return report
    message = f"{report.uri} led to version {report.version}, version {version} was meant."
    moved = SmokeProbe(name="resolves", passed=False, message=message)
    return replace(report, probes=(*report.probes, moved))


def smoke_verdict(*, model: str, version: int, registry: Registry, tracking_uri: str) -> Verdict:
    """Return PASS or FAIL for a version as it serves; promotions test their new champion by it."""
    return judge_smoke(
        smoke_version(
            model=model, version=version, registry=registry, tracking_uri=tracking_uri, batch_rows=0
        )
    )


def _run(place: Path, *, tracking_uri: str, timeout_s: float) -> SmokeProbe | None:
    """Run the process; return what went wrong with the process itself, or None."""
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": tracking_uri,
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
    ended = SMOKE_POOL.run(place, environment=environment, timeout_s=timeout_s)
    if ended is None:
        return SmokeProbe(name="process", passed=False, message=f"no answer within {timeout_s:g} s.")
    code, output = ended
    if code != 0 or not (place / "result.json").is_file():
        last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
        return SmokeProbe(name="process", passed=False, message=f"the process ended with code {code}: {last}")
    return None


def _storable(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows that Parquet takes: a column of mixed objects as text, the rest as it is."""
    import pandas as pd

    mixed = {
        name for name in rows.columns if pd.api.types.infer_dtype(rows[name], skipna=True).startswith("mixed")
    }
    return rows.assign(**{name: rows[name].map(str, na_action="ignore") for name in mixed})
