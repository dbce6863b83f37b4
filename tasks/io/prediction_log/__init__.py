"""The prediction log: served predictions, outcomes and shadow scores, written durably and read by window."""
