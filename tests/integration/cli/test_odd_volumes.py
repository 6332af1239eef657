# SPDX-License-Identifier: GPL-2.0-only
"""Commands that look into a storage pool which has a file whose name is no text. No VM."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import children
import unfit_volumes
from buildmaster import DEADLINE
from commands import COMMAND
from lab import STORAGE_POOL, Lab
from pools import PoolSettings, write_pool

COMMANDS = {
    "doctor --no-vm": "image of debian-12: debian-12 ",
    f"image list --uri URI --pool {STORAGE_POOL}": "debian-12",
    "image prune --dry-run": "here: keeps debian-12 ",
}
"""What each says of what is in the pool."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_volume_whose_name_is_no_text_hides_no_other(
    lab: Lab, tmp_path: Path, command: str
) -> None:
    write_pool(tmp_path, lab.uri, PoolSettings())
    with lab.connection() as connection, unfit_volumes.unnameable(lab.directory):
        pool = connection.storagePoolLookupByName(STORAGE_POOL)
        pool.refresh()
        with pytest.raises(UnicodeDecodeError):
            pool.listVolumes()

        done = subprocess.run(
            [*children.WITH_US, COMMAND, *command.replace("URI", lab.uri).split()],
            cwd=tmp_path,
            env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    assert (done.returncode, done.stderr) == (0, "")
    assert COMMANDS[command] in done.stdout
