"""How Evergreen runs: the command, the servers, the deployments."""

if __name__ != "evergreen.deployments":
    raise ImportError(
        f"'{__name__}' at {__file__} is evergreen.deployments: write 'from evergreen.deployments import …'."
    )
