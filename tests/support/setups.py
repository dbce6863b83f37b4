"""What the data layer needs of a set-up: a configuration and the folder its paths start at."""

from types import SimpleNamespace


def setup_of(config, base):
    """Return a set-up without stores."""
    return SimpleNamespace(config=config, base=base, model=config.model)
