# SPDX-License-Identifier: GPL-2.0-only
"""Imports and adoptions that end without an image: whatever ends them, nothing is left.

The disk is our own image's, which has no cloud-init. Whole imports take minutes, and are in
``tests/long``.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from buildmaster import DEADLINE, wait_for
from imports import leftovers, processes, run, sandboxes, started, supervisor_of
from lab import STORAGE_POOL
from latent_libvirt.cli import main
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory for images; the worker's packages are downloaded into it once."""
    return tmp_path_factory.mktemp("imports") / "images"


def test_a_disk_without_cloud_init_is_named_with_its_console_and_nothing_is_left(
    image: LocalImage, output: Path
) -> None:
    arguments = ("--name", "no-cloud", "--output", output, "--timeout", "4s")
    status, _out, err = run(image.path("disk"), *arguments)

    assert status == 1
    assert "cloud-init did not run in the guest within 4 s" in err
    assert "serial console" in err
    assert "--timeout" in err
    assert leftovers(output) == set()
    assert processes(output) == []


def test_an_import_that_is_killed_leaves_no_vm_and_its_files_go_with_the_next(
    image: LocalImage, output: Path
) -> None:
    with started(image.path("disk"), "--name", "killed", "--output", output) as program:
        assert program.stdout is not None
        assert any("booting" in line for line in program.stdout)
        (sandbox,) = sandboxes(output)
        program.kill()
    wait_for("the sandbox to end", lambda: not processes(output) and not sandbox.exists())
    assert leftovers(output)

    status, _out, _err = run(
        image.path("disk"), "--name", "killed", "--output", output, "--timeout", "1s"
    )

    assert status == 1
    assert leftovers(output) == set()


def test_a_host_that_dies_in_the_middle_is_an_error_and_leaves_nothing(
    image: LocalImage, output: Path
) -> None:
    with started(image.path("disk"), "--name", "dead-host", "--output", output) as program:
        assert program.stdout is not None
        assert any("booting" in line for line in program.stdout)
        (sandbox,) = sandboxes(output)
        os.kill(supervisor_of(sandbox), signal.SIGKILL)
        out, err = program.communicate(timeout=DEADLINE)

    assert program.returncode == 1, out + err
    assert "libvirt" in err
    assert "Traceback" not in err
    assert leftovers(output) == set()
    assert processes(output) == []


def test_ctrl_c_leaves_nothing(image: LocalImage, output: Path) -> None:
    with started(image.path("disk"), "--name", "given-up", "--output", output) as program:
        assert program.stdout is not None
        assert any("booting" in line for line in program.stdout)
        assert leftovers(output)
        (sandbox,) = sandboxes(output)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=DEADLINE)

    assert program.returncode not in (0, None), out + err
    assert "Traceback" not in err
    assert leftovers(output) == set()
    assert processes(output) == []
    assert not sandbox.exists()


def test_a_disk_that_boots_nothing_is_published_nowhere(
    tmp_path: Path, sandbox: PrivateLibvirtd
) -> None:
    sandbox.define_storage_pool(STORAGE_POOL)
    published = ("--uri", sandbox.uri, "--pool", STORAGE_POOL)
    disk, output = tmp_path / "disk.raw", tmp_path / "out"
    disk.write_bytes((b"\xf4".ljust(510, b"\0") + b"\x55\xaa").ljust(2**20, b"\0"))
    status, _out, err = run(
        *(disk, "--name", "mine", "--output", output, "--timeout", "2s", *published),
        verb="publish",
    )

    assert status == 1
    assert "a VM of it did not boot" in err
    assert "raise --timeout" in " ".join(err.split())
    assert "boot_timeout" not in err
    assert leftovers(output) == set()
    assert processes(output) == []
    listed = CliRunner().invoke(main, ["image", "list", *published])
    assert "There are none." in listed.stdout
