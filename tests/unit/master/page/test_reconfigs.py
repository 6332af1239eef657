# SPDX-License-Identifier: GPL-2.0-only
"""What a reconfig leaves of the page: one board that counts once, and terminals of who may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.web.test.requesthelper import DummyRequest

from latent_libvirt.control.frames import CLOSE
from latent_libvirt.master.page.board import Board
from latent_libvirt.master.page.plugin import PagePlugin
from latent_libvirt.master.page.rights import ACTIONS, PoolEndpointMatcher
from latent_libvirt.master.page.terminal import MOST, WITHDRAWN
from pages import POOL, PaperMaster, Www, opened, published

RECONFIGS = 300
"""Each of them once wrapped a method again; Python gives up after some 160."""


@pytest.fixture
def master(tmp_path: Path) -> Any:
    master: Any = PaperMaster(1)
    master.basedir, master.www = str(tmp_path), Www()
    return master


@pytest.fixture
def plugin(master: Any) -> PagePlugin:
    plugin = PagePlugin()
    plugin.setMaster(master)
    return plugin


def asked(plugin: PagePlugin) -> Any:
    """Return a request for the rights, which is under way."""
    request: Any = DummyRequest([b"rights"])
    plugin.resource.children[b"rights"].render_GET(request)
    return request


def test_many_reconfigs_leave_one_board_that_counts_each_page_once(
    master: Any, plugin: PagePlugin
) -> None:
    published(master, lambda: {"pool": {"": {"used": 0}}})
    asked(plugin)
    master.reactor.pump([0.1] * 20)
    resource, start = plugin.resource, master.mq.startConsuming
    timers = len(master.reactor.getDelayedCalls())

    for _reconfig in range(RECONFIGS):
        plugin.setMaster(master)
        asked(plugin)

    assert plugin.resource is resource
    assert master.mq.startConsuming is start
    assert len(master.reactor.getDelayedCalls()) == timers


def test_boards_of_one_bus_wrap_its_method_once() -> None:
    master = PaperMaster(1)
    for _board in range(RECONFIGS):
        board = Board(master)
        Deferred.fromCoroutine(board.look())
        board.stop()

    consumed = master.mq.startConsuming(lambda *_: None, tuple(board.events.split("/")))

    assert consumed.called
    assert board.is_watched


def test_all_who_look_first_wait_for_the_same_answers(master: Any, plugin: PagePlugin) -> None:
    begun: Deferred[None] = Deferred()
    consume = master.mq.startConsuming
    published(master, lambda: {"pool": {"": {"used": 0}}})
    master.mq.startConsuming = lambda *asked: begun.addCallback(lambda _: consume(*asked))

    requests = [asked(plugin) for _user in range(4)]
    begun.callback(None)
    master.reactor.pump([0.1] * 20)

    rights = [json.loads(b"".join(each.written)) for each in requests]
    assert rights == [{POOL: list(ACTIONS)}] * 4


def test_the_limit_of_terminals_stays(
    master: Any, plugin: PagePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _terminal in range(MOST):
        opened(plugin.resource._terminals, master, monkeypatch)

    plugin.setMaster(master)

    assert len(plugin.resource._terminals._open) == MOST


def fails(*_asked: object) -> None:
    raise RuntimeError("a mistake in a rule")


@pytest.mark.parametrize("broken", [False, True])
def test_a_terminal_ends_with_the_right_to_it(
    master: Any, plugin: PagePlugin, monkeypatch: pytest.MonkeyPatch, *, broken: bool
) -> None:
    terminal, done = opened(plugin.resource._terminals, master, monkeypatch)
    plugin.setMaster(master)
    assert done == []

    master.www.allow("admins")
    if broken:
        monkeypatch.setattr(PoolEndpointMatcher, "match", fails)
    plugin.setMaster(master)

    assert WITHDRAWN.encode() in done[0]
    assert done[1:] == [CLOSE, "lost", 1000]
    terminal.onMessage(b"reboot\r", isBinary=True)
    assert done[1:] == [CLOSE, "lost", 1000]


def test_a_terminal_ends_that_was_opened_while_the_right_to_it_went(
    master: Any, plugin: PagePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.www.allow("admins")
    _terminal, done = opened(plugin.resource._terminals, master, monkeypatch)

    assert done[1:] == [CLOSE, "lost", 1000]
