"""Chromium without a window, where this machine has one."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def path_of_chromium() -> str | None:
    return next((path for path in map(shutil.which, _NAMES) if path), None)


def why_not() -> str:
    """Why there can be no page, or nothing."""
    if path_of_chromium() is None:
        return f"no Chromium is installed: none of {', '.join(_NAMES)} is on the path"
    if importlib.util.find_spec("playwright") is None:
        return "playwright, which drives Chromium, is not installed: pip install playwright"
    return ""


class Opened:
    """A page of a file, with what it complained of and asked for."""

    def __init__(self, browser: Any, file: Path, width: int = 1400) -> None:
        self.page = page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(120_000)  # a busy machine takes its time for Plotly's 5 MB
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.resolve().as_uri())


@contextmanager
def started() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path_of_chromium(),
            args=["--no-sandbox"],  # which a container's root can't do without
        )
        yield browser
        browser.close()
