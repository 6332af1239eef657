# SPDX-License-Identifier: GPL-2.0-only
"""The launcher's last words."""

from __future__ import annotations

import json

import pytest

from handshakes import conversation
from latent_libvirt.guest.launcher.errors import LauncherError
from latent_libvirt.guest.launcher.life import report


def test_an_error_is_told_to_the_console_and_the_pool(capsys: pytest.CaptureFixture[str]) -> None:
    with conversation() as (channel, host):
        report(LauncherError("this image has no user nobody-here"), channel)
        told = json.loads(host.recv(4096))

    assert told["type"] == "failed"
    assert told["reason"] == "this image has no user nobody-here"
    assert "no user nobody-here" in capsys.readouterr().err


def test_an_unexpected_error_is_told_with_its_type() -> None:
    with conversation() as (channel, host):
        report(ZeroDivisionError("oh"), channel)

        assert json.loads(host.recv(4096))["reason"] == "ZeroDivisionError: oh"


def test_a_pool_that_has_hung_up_is_told_nothing() -> None:
    with conversation() as (channel, _host):
        channel.close()

        report(LauncherError("too late"), channel)

        assert not channel.is_open
