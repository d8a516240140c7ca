"""Data sets of the Hugging Face hub: how a spec names one, `hub:owner/name`, or one of its revisions after an `@`."""

from typing import Any

from spaces.telling import Say

HUB = "hub:"


def hub_address(source: str) -> tuple[str, str | None]:
    """(what stands for the data set, its revision if one is named): a commit, tag or branch."""
    name, _, revision = source.removeprefix(HUB).partition("@")
    return name, revision or None


def load_hub(path: str, *args: Any, say: Say, **options: Any) -> Any:
    """A data set by `datasets.load_dataset`; one line is told in place of the bars that the package draws.

    Raises ImportError without the package, OSError or ValueError for what the hub does not give.
    """
    import datasets

    say(f"data set {path}: from the hub, or from what is here of it")
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(path, *args, **options)
    finally:
        if shown:
            datasets.enable_progress_bars()
