"""The only place that opens files, speaks SQL or imports MLflow; it decides nothing."""
