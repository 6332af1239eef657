# SPDX-License-Identifier: GPL-2.0-only
"""What a master has left that will not be back, freed without it; on libvirt's own test driver."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import libvirt
import pytest
from click.testing import CliRunner, Result

from latent_libvirt.cli import main
from latent_libvirt.control.socket_path import socket_path
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.slot_domains import set_record
from latent_libvirt.host.names import OwnedVolume, Owner, domain_name

GONE = Owner("gone:/srv/master", "latent_libvirt")
LONGER = Owner("gone:/srv/master2", "latent_libvirt")
VM_ID = "0123456789abcdef"
POOL = "default-pool"


class Things:
    """What owners have on the test driver's host."""

    def __init__(self, connection: libvirt.virConnect) -> None:
        self.connection = connection
        self._pool = connection.storagePoolLookupByName(POOL)

    def volumes(self, owner: Owner, slot: int = 1) -> None:
        saved = OwnedVolume(owner.id, slot, VM_ID, "0" * 24)
        for name in (str(OwnedVolume(owner.id, slot, VM_ID)), saved.disk, saved.state):
            self._pool.createXML(f"<volume><name>{name}</name><capacity>9</capacity></volume>")

    def domain(self, owner: Owner, slot: int, state: str) -> None:
        record = VmRecord(
            owner.id, owner.master, owner.pool, VM_ID, "small", "small-1", "", "", state
        )
        domain = self.connection.createXML(
            f"<domain type='test'><name>{domain_name(slot)}</name><memory>1024</memory>"
            "<os><type>hvm</type></os></domain>"
        )
        set_record(domain, record)

    def left(self) -> list[str]:
        names = [volume.name() for volume in self._pool.listAllVolumes()]
        domains = [domain.name() for domain in self.connection.listAllDomains()]
        return sorted(names) + [name for name in domains if name.startswith("latent-libvirt-")]

    def clear(self) -> None:
        for volume in self._pool.listAllVolumes():
            volume.delete()
        for domain in self.connection.listAllDomains():
            if domain.name().startswith("latent-libvirt-"):
                domain.destroy()


@pytest.fixture
def things() -> Iterator[Things]:
    connection = libvirt.open("test:///default")
    made = Things(connection)
    yield made
    made.clear()
    connection.close()


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["sweep", *words, "--uri", "test:///default", "--pool", POOL])


@pytest.mark.parametrize("by_name", [True, False])
def test_all_that_one_owner_has_goes_and_nothing_of_others(
    things: Things, *, by_name: bool
) -> None:
    things.volumes(GONE)
    things.volumes(LONGER)
    things.domain(GONE, 2, "spare")
    things.domain(LONGER, 3, "spare")

    result = run("--owner", GONE.master if by_name else GONE.id, "--yes")

    assert result.exit_code == 0, result.output
    assert all(LONGER.id in name or name == domain_name(3) for name in things.left())
    assert len(things.left()) == 4


def test_owners_are_listed_with_what_they_have(things: Things) -> None:
    things.volumes(GONE)
    things.domain(LONGER, 2, "held")

    lines = run("--list").stdout.splitlines()

    lost = f"{GONE.id} (of a master whose name is lost): 0 domains, 1 overlays, 1 saved states"
    held = "(gone:/srv/master2, pool latent_libvirt): 1 domains, 0 overlays, 0 saved states"
    frozen = ", 0 frozen VMs"
    assert sorted(lines) == sorted([f"{lost}{frozen}", f"{LONGER.id} {held}{frozen}"])


@pytest.mark.parametrize("owner", [GONE.id[:-1], "gone:/srv/maste", "", "*", GONE.id.upper()])
def test_a_part_of_an_owner_is_no_owner(things: Things, owner: str) -> None:
    things.volumes(GONE)
    before = things.left()

    result = run("--owner", owner, "--yes")

    assert result.exit_code == 1
    assert GONE.id in result.stderr
    assert things.left() == before


def test_nothing_is_freed_before_somebody_has_said_yes(things: Things) -> None:
    things.volumes(GONE)
    before = things.left()

    assert run("--owner", GONE.id).exit_code == 1
    assert "would free" in run("--owner", GONE.id, "--dry-run").stdout
    assert things.left() == before


def test_vms_of_builds_are_freed_only_by_who_says_so(things: Things) -> None:
    things.domain(GONE, 2, "job")

    refused = run("--owner", GONE.id, "--yes")
    assert (refused.exit_code, things.left()) == (1, [domain_name(2)])
    assert "--with-jobs" in refused.stderr

    assert run("--owner", GONE.id, "--yes", "--with-jobs").exit_code == 0
    assert things.left() == []


def test_a_master_that_runs_keeps_what_it_has(things: Things, tmp_path: Path) -> None:
    here = Owner(f"{os.uname().nodename}:{tmp_path}", "latent_libvirt")
    things.domain(here, 2, "spare")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(socket_path(tmp_path, here.pool)))
        listening.listen()
        refused = run("--owner", here.id, "--yes")

    assert refused.exit_code == 1
    assert "runs: it would lose its VMs" in refused.stderr
    assert things.left() == [domain_name(2)]


@pytest.mark.parametrize("words", [["--list"], ["--owner", "x"], ["--owner", "x", "--uri", "a"]])
def test_the_host_has_to_be_named(words: list[str]) -> None:
    assert CliRunner().invoke(main, ["sweep", *words]).exit_code == 2


def test_ctrl_c_at_the_question_frees_nothing_and_has_its_status(
    things: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        """Do as click does when Ctrl-C comes at a question."""
        try:
            signal.default_int_handler(signal.SIGINT, None)
        except KeyboardInterrupt:
            raise click.Abort from None

    things.volumes(GONE)
    monkeypatch.setattr(click, "confirm", interrupted)

    assert run("--owner", GONE.id).exit_code == 130
    assert things.left()
