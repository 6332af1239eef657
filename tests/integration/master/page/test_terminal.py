# SPDX-License-Identifier: GPL-2.0-only
"""Terminals in the browser: who may open one, and what a flood of output costs."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import pytest_twisted
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site

from browser import Browser
from buildmaster import wait_for
from latent_libvirt.control.console import ConsoleSession, Vm
from latent_libvirt.control.frames import CLOSE, Frame, FrameDecoder, Kind
from latent_libvirt.host.guests.console import BACKLOG_BYTES
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.master.page.far_terminal import UNSHOWN
from latent_libvirt.master.page.terminal import Opening, Terminals, _Gate
from latent_libvirt.status.names import VmNames
from page_users import POOL, User, audit, building, logged_in, next_number
from pages import Anybody
from simulated_master import SimulatedMaster
from ui import accessibility

reactor: Any = the_reactor
_Client: Any = WebSocketClientProtocol
_Factory: Any = WebSocketClientFactory
_Resource: Any = Resource
_Site: Any = Site

DEADLINE = 60.0


def test_who_may_open_a_terminal_gets_a_link_and_others_are_refused(
    master: SimulatedMaster,
) -> None:
    number = next_number(master)
    master.force("check")
    vm = wait_for("a VM", lambda: building(master, number=number))
    before = len(noted(master))

    def answered(user: str, *, name: str = vm["vm_id"], **headers: str) -> int:
        path = f"terminal?pool={POOL.replace('/', '%2F')}&vm={name}"
        return User(master, user).get(path, **headers)

    assert [answered("dev"), answered("ops"), answered("")] == [403] * 3
    assert answered("admin", Origin="http://evil.example") == 403
    assert answered("admin", name="nothing") == 404
    lines = wait_for("lines", lambda: found if len(found := noted(master)[before:]) == 5 else 0)
    assert {line["outcome"] for line in lines} == {"refused"}

    with Browser(f"{master.ui}#/vms") as browser:
        logged_in(master, browser, "admin")
        link = f"document.querySelector('a[aria-label=\"Terminal of {vm['worker']}\"]')"
        browser.act(link, "click()")
        (line,) = wait_for("a line", lambda: noted(master)[before + len(lines) :])
        assert (line["user"], line["outcome"], line["name"]) == ("admin", "done", vm["vm_id"])
        browser.wait_for_text("Terminal")
        wait_for("the terminal", lambda: browser.evaluate("!!document.querySelector('.xterm')"))
        assert accessibility(browser) == []
        see_that_a_key_leaves(browser)
        shown = "+(document.body.innerText.match(/(\\d+) \\u00d7 \\d+/)?.[1] ?? 0)"
        columns = wait_for("the size", lambda: browser.evaluate(shown))
        browser.act("document.querySelector('.ll-terminal')", "style.width = '300px'")
        wait_for("the terminal to fit", lambda: 0 < browser.evaluate(shown) < columns)
        assert browser.errors == []
    see_recording(master)
    master.let_go()


def noted(master: SimulatedMaster) -> list[dict[str, Any]]:
    """Return the lines of the audit log about terminals."""
    return [line for line in audit(master) if line.get("command") == "terminal"]


def see_that_a_key_leaves(browser: Browser) -> None:
    """See that Ctrl-] leaves the terminal, which takes Tab."""
    browser.wait_for_text("All terminals of a VM share its shell.")
    browser.act("document.querySelector('.xterm textarea')", "focus()")
    focused = "document.activeElement.tagName"
    for key, code, modifiers, place in (
        ("Tab", 9, 0, "TEXTAREA"),
        ("]", 221, 2, "BUTTON"),
    ):
        pressed = {"key": key, "modifiers": modifiers, "windowsVirtualKeyCode": code}
        browser.call("Input.dispatchKeyEvent", type="rawKeyDown", **pressed)
        browser.call("Input.dispatchKeyEvent", type="keyUp", **pressed)
        is_there = f"{focused} === {place!r}"
        wait_for(f"the focus after {key}", partial(browser.evaluate, is_there))


def see_recording(master: SimulatedMaster) -> None:
    """See that the terminal's end leaves what was seen there with the data of the build."""
    (build,) = [build for build in master.get("builds") if not build["complete"]]
    path = f"builds/{build['buildid']}/data"

    def recordings() -> list[str]:
        names = [data["name"] for data in master.get(path)]
        return [name for name in names if name.startswith("terminal-")]

    (recording,) = wait_for("the recording", recordings)
    lines = master.raw(f"{path}/{recording}/value").splitlines()
    head, *events = map(json.loads, lines)
    assert head["version"] == 2
    assert len({size for _, kind, size in events if kind == "r"}) >= 2


def test_a_terminal_ends_with_the_session_of_its_user_and_with_the_right_to_it(
    master: SimulatedMaster,
) -> None:
    number = next_number(master)
    master.force("check")
    vm = wait_for("a VM", lambda: building(master, number=number))
    query = urllib.parse.urlencode({"pool": POOL, "vm": vm["vm_id"]})
    with Browser(f"{master.ui}#/vms") as browser:
        opened_by_admin(master, browser, query)
        browser.wait_for_text(f"Terminal of {vm['worker']} on host {vm['host']}, build check #")
        browser.promised("fetch('auth/logout', {redirect: 'manual'}).then(() => true)")
        browser.wait_for_text("you have logged out of Buildbot")
        browser.open("about:blank")
        browser.open(f"{master.ui}#/vms/terminal?{query}")
        browser.wait_for_text("nobody is logged in")
        assert not browser.evaluate("!!document.querySelector('.xterm')")
        logged_in(master, browser, "dev")
        browser.go_to(f"#/vms/terminal?{query}")
        browser.wait_for_text('user dev lacks the action "terminal" in pool latent_libvirt')

        opened_by_admin(master, browser, query)
        path = master.directory / "master.cfg"
        before = path.read_text()
        try:
            path.write_text(before.replace('role="admins"', 'role="others"'))
            master.reconfig()
            browser.wait_for_text("the configuration allows you this terminal no longer")
        finally:
            path.write_text(before)
            master.reconfig()
    master.let_go()


def opened_by_admin(master: SimulatedMaster, browser: Browser, query: str) -> None:
    """Log in, and open a terminal."""
    logged_in(master, browser, "admin")
    before = len(done(master))
    browser.go_to(f"#/vms/terminal?{query}")
    wait_for("the terminal", lambda: len(done(master)) == before + 1)


SLOW = """
window.sent = [];
window.WebSocket = class {
  static CONNECTING = 0;
  static OPEN = 1;
  constructor() { this.readyState = 0; window.slow = this; }
  send(data) { sent.push(typeof data === "string" ? data : new TextDecoder().decode(data)); }
  close() {}
}; 1
"""
"""A connection that is there when the test says so."""


def test_what_is_typed_before_there_is_a_connection_is_typed_then(
    master: SimulatedMaster,
) -> None:
    number = next_number(master)
    master.force("check")
    vm = wait_for("a VM", lambda: building(master, number=number))
    query = urllib.parse.urlencode({"pool": POOL, "vm": vm["vm_id"]})
    with Browser(f"{master.ui}#/vms") as browser:
        logged_in(master, browser, "admin")
        browser.evaluate(SLOW)
        browser.go_to(f"#/vms/terminal?{query}")
        wait_for("the terminal", lambda: browser.evaluate("!!window.slow"))
        browser.act("document.querySelector('.xterm textarea')", "focus()")
        browser.type("whoami")
        browser.evaluate("slow.readyState = 1, slow.onopen(), 1")
        assert browser.evaluate("sent.slice(1)") == ["\rwhoami"]
    master.let_go()


def done(master: SimulatedMaster) -> list[dict[str, Any]]:
    """Return the lines of the audit log about terminals that were opened."""
    return [line for line in noted(master) if line["outcome"] == "done"]


class Parrot:
    """A VM that says in capitals what is typed."""

    def __init__(self) -> None:
        self.guest = Guest("latent-libvirt-1", reactor=reactor)
        self.typed = b""

    async def write_to_console(self, data: bytes) -> None:
        self.typed += data
        self.guest.console.received(data.upper())


class Page(_Client):  # type: ignore[misc]
    """What the script of a page does, as slowly as the test likes."""

    def onOpen(self) -> None:
        self.frames: list[Frame] = []
        self.unshown = 0
        self.factory.opened.callback(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: FBT001, N803
        self.frames += FrameDecoder().feed(payload)
        self.unshown += len(payload)

    def show(self) -> None:
        """Show all that has come, and say so."""
        self.sendMessage(str(self.unshown).encode(), isBinary=False)
        self.unshown = 0

    @property
    def output(self) -> bytes:
        return b"".join(frame.content for frame in self.frames if frame.kind is Kind.OUTPUT)


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def terminals() -> Terminals:
    return Terminals(None, None, None)  # type: ignore[arg-type]  # nobody is asked who may


@pytest.fixture
def port(parrot: Parrot, terminals: Terminals) -> Iterator[int]:
    """Give the port of a web server where each connection is a terminal of the parrot."""

    class Opens(_Resource):  # type: ignore[misc]
        isLeaf = True

        def render_GET(self, request: Any) -> Any:
            vm = Vm(VmNames("latent-libvirt-1", "alpha", "aa"), parrot)
            session = ConsoleSession(vm, read_only=False)
            anybody: Any = Anybody(reactor)
            opening = Opening(session, anybody, lambda *_note: None, lambda: None)
            return terminals.begin(request, opening)

    listening = reactor.listenTCP(0, _Site(Opens()), interface="127.0.0.1")
    yield listening.getHost().port
    listening.stopListening()


async def until(what: str, condition: Any) -> None:
    """Return when that is so."""
    for _attempt in range(int(DEADLINE / 0.05)):
        if condition():
            return
        await deferLater(reactor, 0.05, lambda: None)
    raise AssertionError(what)


async def opened(port: int) -> Any:
    factory = _Factory(f"ws://127.0.0.1:{port}/")
    factory.protocol = Page
    factory.opened = Deferred()
    reactor.connectTCP("127.0.0.1", port, factory)
    return await factory.opened.addTimeout(DEADLINE, reactor)


@pytest_twisted.ensureDeferred
async def test_a_flood_is_bounded_and_slows_no_other_terminal_and_nothing_stays(
    parrot: Parrot, terminals: Terminals, port: int
) -> None:
    slow, quick = await opened(port), await opened(port)
    assert [type(each.transport.producer) for each in terminals._open] == [_Gate] * 2

    for _piece in range(40):
        parrot.guest.console.received(b"x" * BACKLOG_BYTES)
        await until("the quick one to be there", lambda: quick.unshown)
        quick.show()
    quick.sendMessage(b"the end", isBinary=True)
    await until("an answer", lambda: quick.show() or quick.output.endswith(b"THE END"))

    await until("what it may have", lambda: slow.unshown >= UNSHOWN)
    assert slow.unshown <= UNSHOWN + BACKLOG_BYTES + 100
    slow.show()
    await until("the rest", lambda: slow.output.endswith(b"THE END"))
    assert any("bytes dropped" in frame.text for frame in slow.frames)
    for page in (slow, quick):
        page.transport.abortConnection()
    await until("nothing to stay", lambda: not terminals._open)
    closed = b"".join(sorted(2 * [CLOSE[:1]] + 2 * [CLOSE[1:]]))
    await until("the shells to end", lambda: parrot.typed == b"the end" + closed)
    assert not parrot.guest.console._watches


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_vm_is_told_and_ends_the_terminal(
    parrot: Parrot, terminals: Terminals, port: int
) -> None:
    page = await opened(port)

    parrot.guest.console.finish("the parrot has flown")

    await until("the end", lambda: page.frames and page.frames[-1].kind is Kind.END)
    assert page.frames[-1].text == "the parrot has flown"
    await until("nothing to stay", lambda: not terminals._open)
