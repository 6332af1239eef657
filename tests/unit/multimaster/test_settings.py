# SPDX-License-Identifier: GPL-2.0-only
"""What all masters have in common, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors

from latent_libvirt.multimaster import Common

GOOD: dict[str, Any] = {
    "db_url": "postgresql+psycopg2://buildbot:secret@db/buildbot",
    "router_url": "ws://router:8080/ws",
    "buildbot_url": "https://ci.example.org/",
}


def test_three_addresses_are_all_it_takes() -> None:
    assert Common(**GOOD).connections == 15


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"db_url": "sqlite:///state.sqlite"}, "db_url has to begin with"),
        ({"db_url": "postgresql://buildbot@db/buildbot"}, "db_url has to begin with"),
        ({"db_url": "nonsense"}, "db_url has to begin with"),
        ({"router_url": "http://router:8080/ws"}, "router_url is 'http://router:8080/ws'"),
        ({"buildbot_url": "https://ci.example.org"}, "end with /"),
        ({"connections": 1}, "connections has to be 2 or more"),
        ({"router_secret": "short"}, "router_secret has to have 16 characters or more"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would_be_right(
    change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigErrors, match=problem):
        Common(**GOOD | change)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigErrors) as refused:
        Common("sqlite://", "nowhere", "nowhere")

    assert len(refused.value.errors) == 3


def test_a_password_is_never_shown() -> None:
    assert "secret@" not in repr(Common(**GOOD))
    assert "a secret of masters" not in repr(Common(**GOOD, router_secret="a secret of masters"))
    with pytest.raises(ConfigErrors) as refused:
        Common("mysql://buildbot:secret@db/buildbot", *list(GOOD.values())[1:])
    assert "secret" not in str(refused.value)
