"""Training: pipelines, folds, candidates, and what is kept of a training."""
