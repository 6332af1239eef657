# SPDX-License-Identifier: GPL-2.0-only
"""The archive of what is copied into an image."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

from latent_libvirt.images.archive import write_archive

EPOCH = 1_700_000_000


def tree(directory: Path, *names: str) -> Path:
    """Make files in the given order, with times and modes that depend on who makes them."""
    for number, name in enumerate(names):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(0o700 if name.endswith("run") else 0o600)
        os.utime(path, (number, number))
    return directory


def test_equal_files_give_equal_bytes(tmp_path: Path) -> None:
    archives = []
    for number, names in enumerate([("a", "b/run", "c"), ("c", "b/run", "a")]):
        archive = tmp_path / f"{number}.tar"
        files = tree(tmp_path / str(number), *names)
        write_archive(archive, {"": files, "etc/one": files / "a"}, epoch=EPOCH)
        archives.append(archive.read_bytes())

    assert archives[0] == archives[1]


def test_all_is_roots_and_readable_and_only_programs_can_be_run(tmp_path: Path) -> None:
    archive = tmp_path / "it.tar"
    write_archive(archive, {"usr": tree(tmp_path / "in", "x", "bin/run")}, epoch=EPOCH)

    with tarfile.open(archive) as written:
        members = {member.name: member for member in written}

    assert {name: member.mode for name, member in members.items()} == {
        "usr/x": 0o644,
        "usr/bin/run": 0o755,
    }
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, EPOCH)}


def test_long_names_are_kept(tmp_path: Path) -> None:
    name = f"{'x' * 60}/{'y' * 120}"
    archive = tmp_path / "it.tar"
    write_archive(archive, {"": tree(tmp_path / "in", name)}, epoch=EPOCH)

    with tarfile.open(archive) as written:
        assert written.getnames() == [name]
