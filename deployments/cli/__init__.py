"""The ``evergreen`` command."""

from evergreen.deployments.cli.app import main

__all__ = ["main"]
