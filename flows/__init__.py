"""Flows: each file reads as one policy; it composes tasks and decides nothing itself."""

if __name__ != "evergreen.flows":
    raise ImportError(
        f"'{__name__}' at {__file__} is evergreen.flows: write 'from evergreen.flows import …'."
    )
