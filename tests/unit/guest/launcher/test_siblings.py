# SPDX-License-Identifier: GPL-2.0-only
"""What a VM shared with others that were resumed from the same state."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.guest.launcher import siblings
from latent_libvirt.guest.launcher.siblings import is_due, renew_ssh_host_keys, run


@pytest.mark.parametrize(
    ("lease", "asleep", "due"),
    [
        ("3600", 1000.0, False),
        ("3600", 1801.0, True),
        ("3600", -5.0, True),
        ("0", 0.0, True),
        ("soon", 1.0, True),
        (None, 1.0, True),
    ],
)
def test_an_address_is_renewed_when_half_of_its_lease_is_over(
    tmp_path: Path, lease: str | None, asleep: float, *, due: bool
) -> None:
    path = tmp_path / "lease-seconds"
    if lease is not None:
        path.write_text(f"{lease}\n")

    assert is_due(asleep, path) == due


def test_ssh_host_keys_that_were_saved_go_and_new_ones_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[str] = []
    monkeypatch.setattr(siblings, "run", lambda command, **_: commands.append(command[0]))
    renew_ssh_host_keys(tmp_path)
    assert commands == []

    for name in ("ssh_host_rsa_key", "ssh_host_rsa_key.pub", "sshd_config"):
        (tmp_path / name).touch()
    renew_ssh_host_keys(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["sshd_config"]
    assert commands == ["ssh-keygen", "systemctl"]


def test_a_program_that_the_image_has_not_is_got_over(capsys: pytest.CaptureFixture[str]) -> None:
    run(["no-such-program"], seconds=1)

    assert "no-such-program" in capsys.readouterr().err
