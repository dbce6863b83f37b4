"""Who answers whom: variants and their shares, sticky assignment, canary ramps and the guardrails around them."""
