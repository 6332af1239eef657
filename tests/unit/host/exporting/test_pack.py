# SPDX-License-Identifier: GPL-2.0-only
"""A packing that fails leaves no file, and deletes none that was there before.

The content is a fake. Real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import libvirt
import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.exporting import pack


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[libvirt.virConnect]:
    monkeypatch.setattr(pack._Packing, "all", _written)
    monkeypatch.setattr(pack._Packing, "size", lambda *_, **__: SIZE)
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


SIZE = 1 << 20


def _written(packing: pack._Packing, *, with_base: bool) -> str:
    assert not with_base
    packing._add_text("text", "all")
    return "packed"


def _pack(connection: libvirt.virConnect, output: IO[bytes]) -> Any:
    frozen: Any = None
    return pack.pack(connection, "default-pool", frozen, output, with_base=False)


@pytest.mark.parametrize("error", [libvirt.libvirtError("lost"), KeyboardInterrupt(), OSError()])
def test_what_fails_after_the_packing_leaves_no_file(
    connection: libvirt.virConnect, tmp_path: Path, error: BaseException
) -> None:
    file = tmp_path / "vm.tar"

    def fails() -> None:
        with pack.new_file(file) as output:
            _pack(connection, output)
            assert file.stat().st_size > 0
            raise error

    with pytest.raises(type(error)):
        fails()

    assert not file.exists()


def test_what_is_packed_is_kept(connection: libvirt.virConnect, tmp_path: Path) -> None:
    file = tmp_path / "vm.tar"

    with pack.new_file(file) as output:
        assert _pack(connection, output) == "packed"

    with tarfile.open(file) as tar:
        assert tar.getnames() == ["text"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "vm.tar"
    file.write_text("mine")

    with pytest.raises(ConfigurationError, match="is there already"), pack.new_file(file):
        pass

    assert file.read_text() == "mine"


def test_nothing_is_packed_to_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigurationError, match="standard output"), pack.new_file(Path("-")):
        pass

    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_said_before_anything_is_packed(
    connection: libvirt.virConnect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack._Packing, "size", lambda *_, **__: 1 << 60)
    monkeypatch.setattr(pack._Packing, "all", None)
    file = tmp_path / "vm.tar"

    with pytest.raises(ConfigurationError) as refused, pack.new_file(file) as output:
        _pack(connection, output)

    assert str(file) in refused.value.brief
    assert f"{(1 << 60) >> 20} MiB" in str(refused.value.details)
    assert not file.exists()


@pytest.mark.parametrize(("format_", "name"), [("qcow2", "qcow2"), ("raw", "raw"), ("iso", "raw")])
def test_a_disk_is_named_by_its_format(format_: str, name: str) -> None:
    xml = f"<volume><target><format type='{format_}'/></target></volume>"
    volume: Any = SimpleNamespace(XMLDesc=lambda: xml)

    assert pack._format(volume) == name


def test_a_disk_that_becomes_full_is_said_to_be(
    connection: libvirt.virConnect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written last does not fit either, and says nothing in its place."""

    def all_(packing: pack._Packing, **_arguments: object) -> None:
        output: Any = packing._tar.fileobj
        output.write(b"x")
        output.flush()

    monkeypatch.setattr(pack._Packing, "all", all_)
    monkeypatch.setattr(pack._Packing, "size", lambda *_, **__: 0)
    monkeypatch.setattr(pack, "_for_its_owner", lambda *_: os.open("/dev/full", os.O_RDWR))

    with (
        pytest.raises(ConfigurationError, match=r"vm\.tar: No space left on device"),
        pack.new_file(tmp_path / "vm.tar") as output,
    ):
        _pack(connection, output)
