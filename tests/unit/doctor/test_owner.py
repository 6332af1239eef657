# SPDX-License-Identifier: GPL-2.0-only
"""Whose the doctor's VMs are: the same from run to run, and one run's at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latent_libvirt.doctor.owner import claimed, nobody, state_directory
from latent_libvirt.errors import CapacityError, ConfigurationError

CLAIM_AND_WAIT = """
import sys
from pathlib import Path
from latent_libvirt.doctor.owner import claimed
with claimed(Path(sys.argv[1])) as owner:
    print(owner.id, flush=True)
    sys.stdin.read()
"""


def test_the_owner_is_the_same_in_every_run(tmp_path: Path) -> None:
    with claimed(tmp_path) as first:
        pass
    with claimed(tmp_path) as second:
        pass
    assert first == second
    assert first.master.startswith("doctor of ")


def test_another_place_is_another_owner(tmp_path: Path) -> None:
    with claimed(tmp_path / "a") as one, claimed(tmp_path / "b") as other:
        assert one.id != other.id


def test_only_one_run_at_a_time_is_the_owner(tmp_path: Path) -> None:
    with claimed(tmp_path):
        with pytest.raises(CapacityError, match="another run") as caught, claimed(tmp_path):
            pass
        assert "--no-vm" in str(caught.value.resolution)
    with claimed(tmp_path):
        pass


def test_a_killed_run_is_owner_no_more_and_the_next_one_is_the_same(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_WAIT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        its_id = run.stdout.readline().strip()
        with pytest.raises(CapacityError), claimed(tmp_path):
            pass
        run.kill()
    with claimed(tmp_path) as ours:
        assert ours.id == its_id


@pytest.mark.parametrize("content", ["", "doctor of ro", "two\nlines\n"])
def test_half_a_name_is_made_again_and_then_stays(tmp_path: Path, content: str) -> None:
    with claimed(tmp_path):
        pass
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    with claimed(tmp_path) as first:
        pass
    with claimed(tmp_path) as second:
        pass
    assert first == second
    assert first.master.startswith("doctor of ")


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError) as caught, claimed(tmp_path / "file"):
        pass
    assert "XDG_STATE_HOME" in str(caught.value.resolution)


def test_nobody_is_never_the_same_twice() -> None:
    assert nobody().id != nobody().id


def test_the_state_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_directory() == tmp_path / "latent-libvirt"
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", "/home/ann")
    assert state_directory() == Path("/home/ann/.local/state/latent-libvirt")
