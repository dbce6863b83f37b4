"""Data sources: files, databases and Python functions, read part by part as Arrow batches."""
