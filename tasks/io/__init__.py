"""The only place that opens files, sends SQL or imports MLflow; it decides nothing."""
