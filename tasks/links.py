"""Names that tie Prefect and MLflow together: artifact keys, run links."""

from __future__ import annotations

import re


def artifact_key(stage: str, model: str) -> str:
    """Return a Prefect artifact key: lower case, digits and dashes alone.

    >>> artifact_key("challenge", "prod.Fraud_v2")
    'challenge-prod-fraud-v2'
    """
    return re.sub(r"[^a-z0-9]+", "-", f"{stage}-{model}".lower()).strip("-")
