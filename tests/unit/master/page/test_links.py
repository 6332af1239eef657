# SPDX-License-Identifier: GPL-2.0-only
"""Links from Buildbot's pages to the page of VMs, where there is one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from latent_libvirt.master.page.links import link_to
from latent_libvirt.master.workers import info


def master(*, multi: bool = False, **www: Any) -> Any:
    return SimpleNamespace(config=SimpleNamespace(www=www, multiMaster=multi))


def test_there_is_a_link_where_the_page_is_or_may_be_on_another_master() -> None:
    assert link_to(master(port=1, plugins={"latent_libvirt": {}}), "small-1") == "#/vms?vm=small-1"
    assert link_to(master(multi=True), "a&b") == "#/vms?vm=a%26b"
    assert link_to(master(port=1, plugins={}), "x") is None
    assert link_to(master(port=1, plugins={"jobs": {}}, multi=True), "x") is None
    assert link_to(master(), "x") is None


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", 1, None])
def test_no_guest_makes_a_link_that_runs_a_script(link: object) -> None:
    assert info.LINK not in info.fit({info.LINK: link})


def test_a_guest_may_say_where_it_is_on_the_web() -> None:
    assert info.fit({info.LINK: "https://alpha.example/"})[info.LINK] == "https://alpha.example/"
