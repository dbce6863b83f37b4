"""``python -m evergreen.deployments.cli``: the command where nothing is installed."""

from evergreen.deployments.cli import main

main()
