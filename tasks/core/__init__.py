"""Pure decisions: no Prefect, MLflow, disk, network, clock or global random state."""
