"""MLflow: runs, artifacts, models, the registry."""
