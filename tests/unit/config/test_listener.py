# SPDX-License-Identifier: GPL-2.0-only
"""Where the master of a ``master.cfg`` listens for workers, and who gets there."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.config.listener import Listener, find


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('c = {}\nc["protocols"] = {"pb": {"port": "tcp:9989"}}\n', (2, "tcp:9989")),
        ('c = {}\n\nc["protocols"]["pb"] = {"port": 9989}\n', (3, "9989")),
        ("BuildmasterConfig['protocols']['pb']['port'] = 'tcp:1'", (1, "tcp:1")),
        (
            'c["protocols"] = {"pb": {"port": 1}}\nc["protocols"]["pb"]["port"] = "tcp:2"',
            (2, "tcp:2"),
        ),
        ('c["protocols"] = {"pb": {"port": PORT}}', None),
        ('c["protocols"] = {"wamp": {}}', None),
        ('c["www"] = {"port": "tcp:8010"}', None),
        ('c["workers"]["pb"]["port"] = 1', None),
        ("this is no Python", None),
        ("\0", None),
        ("(" * 5000, None),
        ("", None),
    ],
)
def test_what_the_file_writes_down_is_found_with_its_line_and_nothing_is_executed(
    tmp_path: Path, text: str, expected: tuple[int, str] | None
) -> None:
    (tmp_path / "master.cfg").write_text(text)

    found = find(tmp_path / "master.cfg")

    assert (found and (found.line, found.endpoint)) == expected


def test_a_master_cfg_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert find(tmp_path / "master.cfg") is None


@pytest.mark.parametrize(
    ("endpoint", "address", "reached"),
    [
        ("tcp:9989:interface=127.0.0.1", "10.0.2.2", True),
        ("tcp:9989:interface=localhost", "10.0.2.2", True),
        ("tcp:9989:interface=127.0.0.1", "192.168.122.1", False),
        ("tcp:9989:interface=127.0.0.1", "buildbot.example.org", False),
        ("tcp:interface=127.0.0.1:port=9989", "192.168.122.1", False),
        ("tcp6:9989:interface=\\:\\:1", "fd00::1", False),
        ("tcp:9989:interface=192.168.122.1", "192.168.122.1", True),
        ("tcp:9989:interface=192.168.122.1", "10.0.2.2", False),
        ("tcp:9989:interface=192.168.122.1", "192.168.100.1", False),
        ("tcp:9989:interface=192.168.122.1", "buildbot.example.org", True),
        ("tcp:9989:interface=0.0.0.0", "192.168.122.1", True),
        ("tcp:9989", "192.168.122.1", True),
        ("9989", "10.0.2.2", True),
        ("tcp:9989:interface=somewhere", "10.0.2.2", True),
    ],
)
def test_who_looks_for_it_at_another_address_does_not_get_there(
    endpoint: str, address: str, *, reached: bool
) -> None:
    assert Listener("master.cfg", 1, endpoint).is_reached_at(address) == reached
