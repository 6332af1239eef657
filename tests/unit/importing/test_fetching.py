# SPDX-License-Identifier: GPL-2.0-only
"""What a guest may fetch while it is customised, and what is said of what it did not get."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.config import groups
from latent_libvirt.config.destinations import DestinationConfig
from latent_libvirt.errors import ConfigurationError, GuestError
from latent_libvirt.host.proxy.record import Fetch
from latent_libvirt.images.progress import Reporter
from latent_libvirt.importing.fetching import WayOut, destinations

OWN = DestinationConfig(name="mirror.example.org", port=443)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the root of a machine without any source of packages."""
    monkeypatch.setattr(groups, "ROOT", tmp_path)
    return tmp_path


def with_apt(machine: Path) -> None:
    (machine / "etc/apt").mkdir(parents=True)
    source = "deb http://deb.example.org/debian bookworm main\n"
    (machine / "etc/apt/sources.list").write_text(source)


def test_the_sources_of_this_machine_are_allowed_and_what_is_named(machine: Path) -> None:
    with_apt(machine)
    found = [(each.name, each.port, each.private) for each in destinations([OWN])]

    assert found == [("deb.example.org", 80, True), ("mirror.example.org", 443, True)]


def test_nothing_to_fetch_from_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="where packages are to come from"):
        destinations([])
    with pytest.raises(ConfigurationError, match="no group 'pipy'"):
        destinations([DestinationConfig(group="pipy")])


def test_a_group_of_files_that_name_no_host_names_these_files() -> None:
    with pytest.raises(ConfigurationError, match="the group 'pypi' has no host") as caught:
        destinations([DestinationConfig(group="pypi")])

    assert "/etc/pip.conf or /etc/xdg/pip/pip.conf" in str(caught.value.details)


def test_an_error_names_what_was_refused_and_how_to_allow_it() -> None:
    way_out = WayOut([OWN], Reporter())
    why = "label import does not allow it"
    for fetch in (
        Fetch("GET", "http://archive.example.net/InRelease", status=403, why=why),
        Fetch("GET", "http://archive.example.net/InRelease", status=403, why=why),
        Fetch("CONNECT", "mirrors.example.net:443", status=403, why=why),
        Fetch("GET", "http://mirror.example.org/x", status=502, why="nothing answers"),
        Fetch("GET", "https://mirror.example.org/y.deb", status=200, sha256="0" * 64),
    ):
        way_out._record.add(fetch)
    error = way_out.explained(GuestError("apt-get update failed", resolution="Look."))

    assert error.brief == "apt-get update failed"
    assert str(error.details).count("archive.example.net") == 1
    assert "nothing answers" in str(error.details)
    wanted = "--allow archive.example.net:80 --allow mirrors.example.net:443"
    assert error.resolution == f"Allow the hosts of its sources: {wanted}"
    assert way_out.fetched() == {"fetched https://mirror.example.org/y.deb": f"sha256:{'0' * 64}"}


def test_an_error_that_has_nothing_to_do_with_it_stays_as_it_is() -> None:
    error = GuestError("your script ended with status 1")
    assert WayOut([OWN], Reporter()).explained(error) is error
