"""One model's configuration: typed, frozen and closed. ``ModelConfig`` is the whole; sections stand beside it."""

from evergreen.tasks.core.config.model import ModelConfig, parse_model

__all__ = ["ModelConfig", "parse_model"]
