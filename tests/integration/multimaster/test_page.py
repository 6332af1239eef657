# SPDX-License-Identifier: GPL-2.0-only
"""The page "VMs" of the scheduler master: pools of masters behind the router."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from browser import Browser
from buildmaster import wait_for
from commands import status
from installation import Installation, Master
from ui import terminal_text

PAGE = """
c["www"]["plugins"]["latent_libvirt"] = {}
c["www"]["authz"] = util.Authz(
    allowRules=[util.PoolEndpointMatcher(role="anybody")],
    roleMatchers=[Anybody()],
)
"""

ANYBODY = """
class Anybody:
    def setAuthz(self, authz):
        pass
    def getRolesFromUser(self, user):
        return ["anybody"]
"""

POOL = """
from latent_libvirt import Pool
c.setdefault("services", []).append(Pool.from_yaml("pool.yaml"))
"""

PARROT = """
import os
import re
from latent_libvirt.control.console import Vm
from latent_libvirt.control.operations import Operations
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.status.names import VmNames
from twisted.internet import reactor

class Parrot:
    guest = Guest("latent-libvirt-1", reactor=reactor)
    async def write_to_console(self, data):
        with open("typed", "ab") as typed:
            typed.write(data)
        self.guest.console.received(data.upper())

vm = Vm(VmNames("latent-libvirt-1", "here", "aa"), Parrot())

from latent_libvirt.control.vms import find

Operations.vm = lambda _operations, name: find((vm,), name)

from latent_libvirt.host.domains.screen import png

async def picture(_operations, name):
    find((vm,), name)
    return png(b"P6 800 430 255 " + os.urandom(3 * 800 * 430))

Operations.picture = picture
"""
"""A VM that says in capitals what is typed: those of test:///default have no consoles.

What is on its screen makes a picture of the largest size, nearly a MiB.
"""

YAML = """
master: {max_vms: 2, address: 127.0.0.1}
hosts: {here: {uri: "test:///default", slots: 2, storage_pool: default-pool}}
labels: {small: {image: debian-12}}
"""


def page(master: Master) -> dict[str, Any]:
    """Return the pools that the page shows, by the name of their master."""
    url = f"http://127.0.0.1:{master.web_port}/plugins/latent_libvirt/pools"
    with urllib.request.urlopen(url, timeout=60) as answer:
        pools = json.load(answer)["pools"]
    return {pool["master"]: pool | {"id": key} for key, pool in pools.items()}


def ask(master: Master, pool: str, **request: str) -> tuple[int, dict[str, Any]]:
    """Ask for an action."""
    url = f"http://127.0.0.1:{master.web_port}/plugins/latent_libvirt/actions"
    body = json.dumps({"pool": pool, "request": request}).encode()
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_the_pools_of_interface_masters_are_shown_acted_on_and_marked_when_they_stop(
    installation: Installation,
) -> None:
    scheduler = installation.scheduler()
    scheduler.add(ANYBODY + PAGE)
    pools = [installation.interface(name) for name in ("first", "second")]
    for master in pools:
        (master.directory / "pool.yaml").write_text(YAML)
        master.add(POOL)
    pools[0].add(PARROT)
    installation.start(scheduler, *pools)

    shown = wait_for("both pools", lambda: found if len(found := page(scheduler)) == 2 else None)

    first, second = sorted(shown)
    assert [first.rpartition("/")[2], second.rpartition("/")[2]] == ["first", "second"]
    assert {pool["state"] for pool in shown.values()} == {"live"}
    assert shown[first]["set"]["hosts"]["here"]["slots"] == 2
    done = ask(scheduler, shown[first]["id"], command="drain", name="here")
    assert done == (200, {"done": "host here"})
    drained = [status(master)["hosts"][0]["drained"] for master in pools]
    assert drained == [True, False]
    wait_for("the drain", lambda: page(scheduler)[first]["set"]["hosts"]["here"]["drained"])
    see_terminal(scheduler, shown[first]["id"], pools[0])
    see_screen(scheduler, shown[first]["id"])
    pools[1].stop()
    wait_for("its end", lambda: page(scheduler)[second]["state"] == "stopped")
    with Browser(f"http://127.0.0.1:{scheduler.web_port}/#/vms") as browser:
        says = r"Its master has stopped. What follows is what it said last, \d+ s ago\."
        wait_for("how long ago", lambda: re.search(says, browser.text))


def see_terminal(scheduler: Master, pool: str, owner: Master) -> None:
    """See that the scheduler master's UI has a terminal in a VM that only *owner* reaches."""
    query = urllib.parse.urlencode({"pool": pool, "vm": "aa"})
    ui = f"http://127.0.0.1:{scheduler.web_port}/"
    with Browser(f"{ui}#/vms/terminal?{query}") as browser:
        browser.wait_for_text("Connected.")
        browser.type("hello")
        wait_for("an answer", lambda: "HELLO" in terminal_text(browser))
        browser.open(f"{ui}#/vms/terminal?{query.replace('aa', 'bb')}")
        browser.wait_for_text("There is no connection.")
    typed = owner.directory / "typed"
    wait_for("the shell's end", lambda: typed.read_bytes().endswith(b"\x03\x04"))
    assert typed.read_bytes().startswith(b"\rhello\x03")


def looks(scheduler: Master) -> list[dict[str, Any]]:
    """Return the lines of the audit log about screens."""
    lines = (scheduler.directory / "vms-audit.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line.get("command") == "screen"]


def see_screen(scheduler: Master, pool: str) -> None:
    """See that the scheduler master's UI has the screen of a VM that only its owner reaches."""
    query = urllib.parse.urlencode({"pool": pool, "vm": "aa"})
    width = "document.querySelector('.ll-screen')?.naturalWidth"
    with Browser(f"http://127.0.0.1:{scheduler.web_port}/#/vms/screen?{query}") as browser:
        wait_for("the screen", lambda: browser.evaluate(width) == 800)
        assert browser.errors == []
    (line,) = wait_for("its line", lambda: looks(scheduler))
    assert (line["outcome"], line["pool"], line["name"]) == ("done", pool, "aa")
