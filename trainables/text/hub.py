"""Data sets of the Hugging Face hub: how a spec names one, `hub:owner/name`, or one of its revisions after an `@`."""

HUB = "hub:"


def hub_address(source: str) -> tuple[str, str | None]:
    """(what stands for the data set, its revision if one is named): a commit, tag or branch."""
    name, _, revision = source.removeprefix(HUB).partition("@")
    return name, revision or None
