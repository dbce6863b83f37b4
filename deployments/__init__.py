"""How Evergreen runs: the command, the servers, the deployments."""
