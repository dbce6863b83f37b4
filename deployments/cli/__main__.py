"""``python -m deployments.cli``: the command where nothing is installed."""

from deployments.cli import main

main()
