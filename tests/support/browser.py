# SPDX-License-Identifier: GPL-2.0-only
"""A real browser that nobody sees, for pages that have to work in one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Self

from buildmaster import DEADLINE, wait_for


class Browser:
    """Chromium with one page open, for the length of a ``with`` block."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._directory = Path(tempfile.mkdtemp(prefix="chromium-"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("chromium")
        assert program, "chromium is missing: install the Debian package of that name"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
        quiet = ("--no-first-run", "--disable-background-networking", "--remote-debugging-port=0")
        command = [program, *options, *quiet, f"--user-data-dir={self._directory}", self._url]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(self._directory)},
            start_new_session=True,
        )
        wait_for("the browser", (self._directory / "DevToolsActivePort").exists)
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE)
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def title(self) -> str:
        """What the page is called at this moment."""
        port = (self._directory / "DevToolsActivePort").read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=60) as answer:
            pages: list[dict[str, Any]] = json.load(answer)
        return next((str(page["title"]) for page in pages if page["type"] == "page"), "")

    def wait_for_title(self, title: str) -> None:
        """Return when the page is called that."""
        wait_for(f"the browser to show {title!r}", lambda: self.title == title)
