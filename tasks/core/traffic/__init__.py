"""Which version answers which request: variants and shares, sticky assignment, canary ramps and their guardrails."""
