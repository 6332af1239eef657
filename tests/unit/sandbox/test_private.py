# SPDX-License-Identifier: GPL-2.0-only
"""What a sandbox says when it cannot be had; see tests/integration for one that can."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.sandbox import PrivateLibvirtd
from latent_libvirt.sandbox.private import directory_of_sockets


def _stub(directory: Path, name: str, text: str) -> None:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def test_a_missing_libvirtd_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes = tmp_path / "tmp"
    runtimes.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(runtimes))
    monkeypatch.setattr("latent_libvirt.sandbox.private.LONGEST_RUNTIME_PATH", 1000)
    monkeypatch.setattr("shutil.which", lambda _name, **_where: None)
    with pytest.raises(ConfigurationError) as raised:
        PrivateLibvirtd(tmp_path).start()
    assert "libvirtd is not installed" in raised.value.brief
    assert raised.value.resolution == "install the package libvirt-daemon"
    assert not list(runtimes.iterdir())


def test_refused_namespaces_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stub(tmp_path, "libvirtd", "exit 0")
    _stub(tmp_path, "unshare", "echo unshare failed: Operation not permitted >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ConfigurationError) as raised:
        PrivateLibvirtd(tmp_path / "sandbox").start()
    assert raised.value.details == "unshare failed: Operation not permitted"
    assert "unprivileged_userns_clone" in str(raised.value.resolution)


def test_sockets_are_in_the_temporary_directory_if_its_path_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp")
    assert directory_of_sockets() == Path("/var/tmp")


def test_sockets_are_in_tmp_if_the_path_of_the_temporary_directory_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/var/tmp/long-name")
    assert directory_of_sockets() == Path("/tmp")


def test_a_long_temporary_directory_is_refused_if_tmp_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "long-name-for-a-directory"))
    monkeypatch.setattr("latent_libvirt.sandbox.private.FALLBACK", tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="too long") as raised:
        PrivateLibvirtd(tmp_path / "sandbox").start()
    assert "TMPDIR to a directory with a path of at most 11 characters" in str(raised.value)


def test_commands_need_a_running_sandbox(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not running"):
        PrivateLibvirtd(tmp_path).kill()
