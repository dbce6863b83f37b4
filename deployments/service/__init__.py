"""The prediction service: one process, one event loop, models that follow their aliases."""
