"""``python -m evergreen``: the ``evergreen`` command."""

from evergreen.deployments.cli import main

main()
