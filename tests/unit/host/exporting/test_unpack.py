# SPDX-License-Identifier: GPL-2.0-only
"""What is no export is refused with a sentence, and costs neither time nor another's directory."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.exporting.unpack import Unpacked, new_directory

LAYER = {"file": "vda-0.qcow2", "below": "", "size": 1}
DATA_ELSEWHERE = struct.pack(">4sI64xQ", b"QFI\xfb", 3, 4)


def description(*layers: dict[str, Any]) -> bytes:
    texts = dict.fromkeys(("vm_id", "domain", "label", "image", "host_cpu"), "x")
    return json.dumps({**texts, "layers": layers or [LAYER]}).encode()


def member(name: str, data: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def usual(*, export: bytes = b"", disk: bytes = b"") -> list[tuple[tarfile.TarInfo, bytes]]:
    return [
        member("vda-0.qcow2", disk),
        member("domain.xml", b"<domain type='kvm'/>"),
        member("export.json", export or description()),
        member("memory.state"),
    ]


def packed(tmp_path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> Path:
    file = tmp_path / "vm.tar"
    with tarfile.open(file, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if data else None)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(ConfigurationError) as raised:
        Unpacked(file)
    return str(raised.value)


def test_what_is_packed_is_opened(tmp_path: Path) -> None:
    export = Unpacked(packed(tmp_path, [*usual(), member("kernel"), member("README.md")]))
    assert [layer.file for layer in export.export.layers] == ["vda-0.qcow2"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (member("evil"), "does not list its member 'evil'"),
        (member("vdb-0.qcow2"), "does not list its member 'vdb-0.qcow2'"),
        (member("../x"), "does not list its member '../x'"),
        (member("kernel", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no plain file"),
        (member("kernel", type=tarfile.LNKTYPE, linkname="memory.state"), "no plain file"),
        (member("kernel", type=tarfile.FIFOTYPE), "no plain file"),
        (member("kernel", type=tarfile.GNUTYPE_SPARSE), "no plain file"),
        (member("kernel", size=4 << 40), "not there as a whole"),
        (member("memory.state"), "'memory.state' twice"),
        (member("export.json", b"{}"), "'export.json' twice"),
    ],
)
def test_a_member_that_no_export_has_is_refused(
    tmp_path: Path, more: tuple[tarfile.TarInfo, bytes], words: str
) -> None:
    assert words in refusal(packed(tmp_path, [*usual(), more]))


def test_a_sparse_member_of_pax_is_refused(tmp_path: Path) -> None:
    pax = {"GNU.sparse.size": str(4 << 40), "GNU.sparse.map": "0,0", "GNU.sparse.numblocks": "1"}
    info, _ = member("kernel", pax_headers=pax)
    file = tmp_path / "vm.tar"
    with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
        for each, data in [*usual(), (info, b"")]:
            tar.addfile(each, io.BytesIO(data))
    assert "no plain file" in refusal(file)


def test_texts_that_link_to_each_other_are_refused(tmp_path: Path) -> None:
    one, other = ("export.json", "domain.xml"), ("domain.xml", "export.json")
    links = [member(a, type=tarfile.LNKTYPE, linkname=b) for a, b in (one, other)]
    assert "no plain file" in refusal(packed(tmp_path, links))


def test_headers_that_extend_each_other_for_ever_are_refused(tmp_path: Path) -> None:
    file = packed(tmp_path, [])
    file.write_bytes(member("x", type=tarfile.GNUTYPE_LONGNAME)[0].tobuf() * 5000)
    assert "no export" in refusal(file)


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    assert "over 500 members" in refusal(packed(tmp_path, (member(f"x{n}") for n in range(600))))


@pytest.mark.parametrize("lacks", ["export.json", "domain.xml", "memory.state", "vda-0.qcow2"])
def test_what_lacks_a_part_is_refused(tmp_path: Path, lacks: str) -> None:
    members = [each for each in usual() if each[0].name != lacks]
    assert f"it has no {lacks}" in refusal(packed(tmp_path, members))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{**LAYER, "below": "vda-1.qcow2"}], "does not list"),
        ([{**LAYER, "below": "vda-0.qcow2"}], "does not list"),
        ([{**LAYER, "below": "../x"}], "does not list"),
        ([LAYER, LAYER], "twice"),
        ([{**LAYER, "file": "evil"}], "another version"),
        ([{**LAYER, "file": "memory.state"}], "another version"),
    ],
)
def test_a_chain_that_is_not_listed_is_refused(
    tmp_path: Path, layers: list[dict[str, Any]], words: str
) -> None:
    assert words in refusal(packed(tmp_path, usual(export=description(*layers))))


@pytest.mark.parametrize(
    ("disk", "words"), [(b"no disk", "no qcow2"), (DATA_ELSEWHERE, "is based on a file")]
)
def test_a_disk_is_looked_at_before_a_program_opens_it(
    tmp_path: Path, disk: bytes, words: str
) -> None:
    export, directory = Unpacked(packed(tmp_path, usual(disk=disk))), tmp_path / "vm.tar.d"
    with pytest.raises(ConfigurationError, match=words), new_directory(directory):
        export.place(directory, {})
    assert not directory.exists()


def test_a_directory_of_another_is_not_deleted(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    with new_directory(directory):
        (directory / "file").touch()
        with pytest.raises(ConfigurationError, match="there already"), new_directory(directory):
            pass
    assert (directory / "file").exists()


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[m", "a\udcff"])
def test_a_name_that_xml_cannot_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot have"), new_directory(tmp_path / name):
        pass
    assert not list(tmp_path.iterdir())
