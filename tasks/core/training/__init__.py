"""Training: pipelines, folds, candidates, and what is stored of a training."""
