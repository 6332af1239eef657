# SPDX-License-Identifier: GPL-2.0-only
"""What an identity does to the machine."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from handshakes import GOOD
from latent_libvirt.guest.launcher import machine, siblings
from latent_libvirt.guest.launcher.identity import parse_identity
from latent_libvirt.guest.launcher.machine import apply, random_uuid, renew_machine_id


def test_a_machine_id_is_written_wherever_there_was_one_and_is_never_the_same(
    tmp_path: Path,
) -> None:
    for directory in ("etc", "run", "var/lib"):
        (tmp_path / directory).mkdir(parents=True)
    written = tmp_path / "etc/machine-id", tmp_path / "run/machine-id"
    ids = []
    for path in written:
        path.write_text("old\n")
    for _ in range(2):
        renew_machine_id(tmp_path)
        ids.append({path.read_text() for path in written})

    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]
    assert not (tmp_path / "var/lib/dbus").exists()


@pytest.mark.parametrize("saved", [None, 1763999000.0])
def test_a_vm_that_boots_has_a_machine_id_of_its_own_like_one_that_is_resumed(
    saved: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in ("add_entropy", "set_hostname", "renew_machine_id"):
        monkeypatch.setattr(machine, name, lambda *_, name=name: done.append(name))
    monkeypatch.setattr(siblings, "renew_ssh_host_keys", lambda: done.append("renew_ssh_host_keys"))
    monkeypatch.setattr(time, "clock_settime", lambda *_: None)
    monkeypatch.setattr(siblings, "_RENEW_ADDRESS", Path("/nonexistent"))

    apply(replace(parse_identity(GOOD), saved=saved))

    assert done[:3] == ["add_entropy", "set_hostname", "renew_machine_id"]
    assert ("renew_ssh_host_keys" in done) == (saved is not None)


def test_a_random_uuid_is_one_of_version_4() -> None:
    for _ in range(50):
        number = uuid.UUID(random_uuid())
        assert (number.version, number.variant) == (4, uuid.RFC_4122)
