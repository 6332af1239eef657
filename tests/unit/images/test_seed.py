# SPDX-License-Identifier: GPL-2.0-only
"""The seed disk: what cloud-init finds on it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pycdlib

from latent_libvirt.images.seed import user_data, write_seed


def content(disk: pycdlib.PyCdlib, name: str) -> bytes:
    found = io.BytesIO()
    disk.get_file_from_iso_fp(found, rr_path=f"/{name}")
    return found.getvalue()


def test_cloud_init_finds_its_files_by_their_names_and_the_disk_by_its_label(
    tmp_path: Path,
) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(b"tar" * 10_000)
    seed = tmp_path / "seed.iso"
    write_seed(seed, payload, mark="mark-1")

    disk = pycdlib.PyCdlib()
    disk.open(str(seed))
    try:
        assert disk.pvd.volume_identifier.decode().strip() == "cidata"
        assert content(disk, "user-data") == user_data("mark-1").encode()
        assert json.loads(content(disk, "meta-data")) == {"instance-id": "mark-1"}
        assert content(disk, "payload.tar") == payload.read_bytes()
    finally:
        disk.close()


def test_the_installation_runs_before_everything_else_that_cloud_init_does() -> None:
    first, *rest = user_data("mark-1").splitlines()
    configuration = json.loads("\n".join(rest))

    assert first == "#cloud-config"
    assert set(configuration) == {"bootcmd"}
    begin, install = configuration["bootcmd"]
    assert "mark-1 begun" in begin[-1] or ("begun" in begin[-1] and "mark-1" in begin[-1])
    assert install[-1] == "mark-1"
