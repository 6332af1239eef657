# SPDX-License-Identifier: GPL-2.0-only
"""A real browser that nobody sees, for pages that have to work in one.

It is led through its DevTools protocol, by a pipe: messages are JSON, and end with a zero byte
(https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from buildmaster import DEADLINE, wait_for

_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
_QUIET = ("--no-first-run", "--disable-background-networking", "--remote-debugging-pipe")

_DOMAINS = ("Page", "Runtime", "Log", "Network")
"""What the browser is to tell of: documents, scripts and their console, its own errors, answers."""

_BETWEEN_PAGES = re.compile("context|navigated")
"""What a browser says when there is no page, for a moment, in which a script could run."""

_REDIRECT_PIPES = 'exec "$@" 3<&{commands} 4>&{messages}'
"""Chromium reads from descriptor 3 and writes to 4, which are others' in this process."""


class Browser:
    """Chromium with one page open, for the length of a ``with`` block.

    :param trusts_all: whether it takes certificates that nobody vouches for.
    """

    def __init__(self, url: str, *, trusts_all: bool = False) -> None:
        self._url = url
        self._trust = ("--ignore-certificate-errors",) if trusts_all else ()
        self._directory = Path(tempfile.mkdtemp(prefix="chromium-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._unread = b""
        self._session = ""
        self._errors: list[str] = []
        self._answers: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self._launch()
            self._attach()
            self.open(self._url)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(DEADLINE)
            os.close(self._commands)
            os.close(self._messages)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _launch(self) -> None:
        program = shutil.which("chromium")
        assert program, "chromium is missing: install the Debian package of that name"
        its_commands, self._commands = os.pipe()
        self._messages, its_messages = os.pipe()
        redirect = _REDIRECT_PIPES.format(commands=its_commands, messages=its_messages)
        options = (
            *_OPTIONS,
            *_QUIET,
            *self._trust,
            f"--user-data-dir={self._directory}",
            "about:blank",
        )
        self._process = subprocess.Popen(
            ["bash", "-c", redirect, "bash", program, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(self._directory), "TMPDIR": str(self._directory)},
            pass_fds=(its_commands, its_messages),
            start_new_session=True,
        )
        os.close(its_commands)
        os.close(its_messages)

    def _attach(self) -> None:
        (page,) = wait_for("a page", lambda: [t for t in self._targets() if t["type"] == "page"])
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = str(attached["sessionId"])
        for domain in _DOMAINS:
            self.call(f"{domain}.enable")

    def _targets(self) -> list[dict[str, Any]]:
        return list(self.call("Target.getTargets")["targetInfos"])

    def open(self, url: str) -> None:
        """Open another page instead, and forget what was loaded and wrong before."""
        self._errors, self._answers = [], {}
        before = self._document()
        opened = self.call("Page.navigate", url=url)
        assert "errorText" not in opened, f"{url} cannot be opened: {opened['errorText']}"
        if "loaderId" in opened:  # else only the fragment is another one
            wait_for(f"{url} to be opened", lambda: self._document() != before)
        wait_for(f"{url} to be loaded", lambda: self.evaluate("document.readyState") == "complete")

    def _document(self) -> str:
        """Return the id of the document that is shown."""
        return str(self.call("Page.getFrameTree")["frameTree"]["frame"]["loaderId"])

    def go_to(self, fragment: str) -> None:
        """Go to another place of the same page, as a link there does."""
        self.evaluate(f"window.location.hash = {fragment!r}")

    @property
    def title(self) -> str:
        """What the page is called at this moment."""
        return str(self.evaluate("document.title"))

    @property
    def text(self) -> str:
        """What there is to read on the page at this moment."""
        return str(self.evaluate("document.body?.innerText ?? ''"))

    @property
    def errors(self) -> list[str]:
        """What is red in the console until now."""
        self.evaluate("0")
        return self._errors

    @property
    def answers(self) -> dict[str, int]:
        """The status of all that was loaded until now, by URL."""
        self.evaluate("0")
        return self._answers

    def wait_for_title(self, title: str) -> None:
        """Return when the page is called that."""
        wait_for(f"the browser to show {title!r}", lambda: self.title == title)

    def wait_for_text(self, text: str) -> None:
        """Return when that can be read on the page."""
        self._wait(f"the browser to show {text!r}", lambda: text in self.text)

    def click(self, name: str) -> None:
        """Click on the button of that name, as it is read out, once it is there and not busy."""
        button = f'button[aria-label="{name}"]:not(:disabled, [aria-disabled=true])'
        self.act(f"document.querySelector('{button}')", "click()")

    def focus(self, name: str) -> None:
        """Put the focus on the control of that name, as it is read out, once it is there."""
        control = f"""document.querySelector(':is(a, button, input)[aria-label="{name}"]')"""
        has_focus = f"({control}?.focus(), !!{control} && document.activeElement === {control})"
        self._wait(f"the focus on {name!r}", lambda: self.evaluate(has_focus))

    def act(self, element: str, action: str) -> None:
        """Do something with an element of the page, once it is there.

        :param element: an expression, which has no value while the element is not there.
        :param action: what is behind the dot, as ``click()``.
        """
        script = f"(() => {{ const it = {element}; if (it) it.{action}; return !!it; }})()"
        self._wait(f"{element}, for its {action}", lambda: self.evaluate(script))

    def _wait(self, what: str, condition: Callable[[], object]) -> None:
        """Return when that holds; a failure says what the page shows instead."""
        try:
            wait_for(what, condition)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{self.text}") from None

    def type(self, text: str) -> None:
        """Press the keys for *text* where the page has its focus."""
        for letter in text:
            enter = {"key": "Enter", "windowsVirtualKeyCode": 13}
            key = enter if letter == "\r" else {"key": letter}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=letter, **key)
            self.call("Input.dispatchKeyEvent", type="keyUp", **key)

    @property
    def buttons(self) -> list[str]:
        """The names of the page's buttons, as they are read out."""
        named = (
            "[...document.querySelectorAll('.ll-page button[aria-label]')].map((b) => b.ariaLabel)"
        )
        return list(self.evaluate(named) or [])

    def promised(self, expression: str) -> Any:
        """Return what the promise brings that a JavaScript expression gives."""
        found = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return _value(found, expression)

    def processes(self) -> list[int]:
        """Return the ids of all its processes."""
        assert self._process is not None
        group = self._process.pid
        names = (process.name for process in Path("/proc").iterdir())
        return [pid for pid in map(int, filter(str.isdigit, names)) if _in(pid, group)]

    def resize(self, width: int, height: int) -> None:
        """Show the page in a window of that size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        wait_for("the window's size", lambda: self.evaluate("window.innerWidth") == width)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page.

        While one page follows another, it waits for the next one. An expression that throws fails
        the test. So what may not be there yet has to be asked for with ``?.``.
        """
        params = {"expression": expression, "returnByValue": True}
        found = wait_for("a page", lambda: self._evaluated(params))
        return _value(found, expression)

    def _evaluated(self, params: dict[str, Any]) -> dict[str, Any] | None:
        """Return the outcome of a script; nothing while one page follows another."""
        answer = self._ask("Runtime.evaluate", params)
        return None if _BETWEEN_PAGES.search(_trouble(answer)) else _result(answer)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser for something, which must not fail."""
        return _result(self._ask(method, params))

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask the browser for something, and note all that it says until it has answered."""
        number = next(self._numbers)
        session = {"sessionId": self._session} if self._session else {}
        command = {"id": number, "method": method, "params": params, **session}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._next_message()).get("id") != number:
            self._note(message.get("method"), message.get("params", {}))
        return message

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._messages], [], [], DEADLINE)
            data = os.read(self._messages, 1 << 16) if ready else b""
            assert data, "the browser says nothing more"
            self._unread += data
        message, _, self._unread = self._unread.partition(b"\0")
        return dict(json.loads(message))

    def _note(self, event: str | None, params: dict[str, Any]) -> None:
        match event:
            case "Network.responseReceived":
                response = params["response"]
                self._answers[response["url"]] = response["status"]
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                entry = params["entry"]
                self._errors.append(f"{entry['text']} ({entry.get('url', '')})")
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "assert"}:
                self._errors.append(" ".join(map(_shown, params["args"])))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self._errors.append(_shown(details.get("exception", {"value": details["text"]})))


def _trouble(answer: dict[str, Any]) -> str:
    """Return why the browser has not done what it was asked for; empty if it has."""
    return str(answer.get("error", {}).get("message", ""))


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    assert "error" not in answer, f"the browser says: {_trouble(answer)}"
    return dict(answer["result"])


def _value(found: dict[str, Any], expression: str) -> Any:
    """Return the value of an expression, which must not have thrown anything."""
    if details := found.get("exceptionDetails"):
        thrown = _shown(details.get("exception", {"value": details["text"]}))
        raise AssertionError(f"a script has thrown {thrown}:\n{expression[:2000]}")
    return found["result"].get("value")


def _in(pid: int, group: int) -> bool:
    """Whether a process is in the group, and still there."""
    try:
        return os.getpgid(pid) == group
    except OSError:
        return False


def _shown(value: dict[str, Any]) -> str:
    """Return how a console shows a value."""
    return str(value.get("description", value.get("value")))
