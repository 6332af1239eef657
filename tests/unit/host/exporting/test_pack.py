# SPDX-License-Identifier: GPL-2.0-only
"""A packing that fails leaves no file, and deletes none that was there before.

The content is a fake: no test can end a connection between the last byte and the look after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.exporting import pack


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[libvirt.virConnect]:
    monkeypatch.setattr(pack._Packing, "all", _written)
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


def _written(packing: pack._Packing, *, with_base: bool) -> str:
    assert not with_base
    packing._add_text("text", "all")
    return "packed"


def _pack(connection: libvirt.virConnect, file: Path, look: Any) -> Any:
    frozen: Any = None
    return pack.pack(connection, "default-pool", frozen, file, with_base=False, look=look)


@pytest.mark.parametrize("error", [libvirt.libvirtError("lost"), KeyboardInterrupt(), OSError()])
def test_a_look_that_fails_leaves_no_file(
    connection: libvirt.virConnect, tmp_path: Path, error: BaseException
) -> None:
    file = tmp_path / "vm.tar"

    def look() -> None:
        assert file.stat().st_size > 0
        raise error

    with pytest.raises(type(error)):
        _pack(connection, file, look)

    assert not file.exists()


def test_what_passes_the_look_is_kept(connection: libvirt.virConnect, tmp_path: Path) -> None:
    file = tmp_path / "vm.tar"

    assert _pack(connection, file, lambda: None) == "packed"

    assert file.stat().st_size > 0


def test_a_file_that_was_there_stays(connection: libvirt.virConnect, tmp_path: Path) -> None:
    file = tmp_path / "vm.tar"
    file.write_text("mine")

    with pytest.raises(ConfigurationError):
        _pack(connection, file, lambda: None)

    assert file.read_text() == "mine"
