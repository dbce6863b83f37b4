"""Pages: what monitoring shows to people."""
