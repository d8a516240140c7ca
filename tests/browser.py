"""A headless Chromium for the tests, driven by Playwright: the system's own, so that nothing is downloaded."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing() -> str:
    """Why no browser can be driven here; empty when one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "the package playwright is not installed (pip install 'stillhouse[dev]')"
    if executable() is None:
        return f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)"
    return ""


def executable() -> str | None:
    """The first browser on the path."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def opened() -> Iterator:
    """A running browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
