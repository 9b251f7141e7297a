"""The page in a Chromium without a window, whose microphone plays a file: for measuring and for tests."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgedigit.errors import InputError, MissingDependencyError
from edgedigit.serve.server import SiteServer, open_server

NAMES = ("chromium", "chromium-browser", "google-chrome")
FAKE_DEVICE = "--use-fake-device-for-media-stream"
FAKE_MICROPHONE = (FAKE_DEVICE, "--use-fake-ui-for-media-stream")  # which nobody has to allow


def playing(recording: Path) -> tuple[str, ...]:
    """Arguments with which the microphone plays a 16-bit WAV once, from when it is opened."""
    return *FAKE_MICROPHONE, f"--use-file-for-fake-audio-capture={recording}%noloop"


def find_chromium() -> str | None:
    """Path of the browser, None where none is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def check_chromium() -> str:
    """Path of the browser.

    Raises:
        InputError: if none is installed.
        MissingDependencyError: if playwright is not.
    """
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        raise MissingDependencyError.of("playwright", "dev") from None
    path = find_chromium()
    if path is None:
        raise InputError("chromium is not installed; install the system package (sudo apt-get install chromium)")
    return path


@contextmanager
def started(playwright, *arguments: str) -> Iterator:
    """A browser of playwright's, started with these arguments and closed at the end.

    Raises:
        InputError: if Chromium is not installed.
    """
    browser = playwright.chromium.launch(executable_path=check_chromium(), args=list(arguments))
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def chromium(*arguments: str) -> Iterator:
    """The same, with a playwright of its own, of which a thread has one at a time.

    Raises:
        InputError: if Chromium is not installed.
        MissingDependencyError: if playwright is not.
    """
    check_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, started(playwright, *arguments) as browser:
        yield browser


@contextmanager
def serving(files: dict[str, Path]) -> Iterator[tuple[str, SiteServer]]:
    """A site's address and its server, which runs until the end."""
    with open_server(files, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", server
        finally:
            server.shutdown()
            thread.join()
