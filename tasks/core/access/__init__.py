"""Who may ask the prediction service, and how often: API keys and token buckets."""
