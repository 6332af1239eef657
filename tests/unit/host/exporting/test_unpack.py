# SPDX-License-Identifier: GPL-2.0-only
"""What is no export is refused with a sentence, and costs neither time nor another's directory."""

from __future__ import annotations

import errno
import io
import json
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import libvirt
import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.exporting import unpack
from latent_libvirt.host.exporting.unpack import Unpacked, digest, new_directory

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


RAW = {"file": "vdb-0.raw", "below": "", "size": 1}


def disk(file: str, format_: str) -> bytes:
    source = f"<source file='@DIRECTORY@/{file}'/>"
    return (
        f"<domain type='kvm'><name>vm</name><devices><disk type='file' device='disk'>"
        f"<driver name='qemu' type='{format_}'/>{source}</disk></devices></domain>"
    ).encode()


def with_xml(tmp_path: Path, xml: bytes, *layers: dict[str, Any], data: bytes = b"") -> Path:
    files = [member(layer["file"], data) for layer in layers if layer.get("is_packed", True)]
    texts = [member("domain.xml", xml), member("export.json", description(*layers))]
    return packed(tmp_path, [*files, *texts, member("memory.state")])


@pytest.mark.parametrize(("file", "format_"), [("vdb-0.raw", "qcow2"), ("vdb-0.qcow2", "raw")])
def test_a_disk_is_read_as_it_was_looked_at(tmp_path: Path, file: str, format_: str) -> None:
    """A raw disk may have any content. As qcow2, it could name files of this machine."""
    export = Unpacked(with_xml(tmp_path, disk(file, format_), {**RAW, "file": file}))

    with pytest.raises(ConfigurationError) as refused:
        export.check(libvirt.open("test:///default"))

    assert f"{file} as '{format_}'" in str(refused.value.details)


def test_a_raw_disk_is_unpacked_as_it_is(tmp_path: Path) -> None:
    export = Unpacked(with_xml(tmp_path, disk("vdb-0.raw", "raw"), RAW, data=DATA_ELSEWHERE))
    (directory := tmp_path / "d").mkdir()

    xml = export.place(directory, {})

    assert (directory / "vdb-0.raw").read_bytes() == DATA_ELSEWHERE
    assert str(directory / "vdb-0.raw") in xml


def test_a_disk_of_the_base_image_alone_is_linked(tmp_path: Path) -> None:
    (base := tmp_path / "seed").write_text("seed")
    layer = {**RAW, "is_packed": False, "sha256": digest(base)}
    export = Unpacked(with_xml(tmp_path, disk("vdb-0.raw", "raw"), layer))
    (directory := tmp_path / "d").mkdir()

    export.place(directory, {digest(base): base})

    assert (directory / "vdb-0.raw").read_text() == "seed"


def test_a_wrong_base_image_is_said_to_be_one(tmp_path: Path) -> None:
    (wrong := tmp_path / "other").write_text("other")
    layer = {**RAW, "is_packed": False, "sha256": "what it has"}
    export = Unpacked(with_xml(tmp_path, disk("vdb-0.raw", "raw"), layer))

    with pytest.raises(ConfigurationError, match="no file of --base is the base image") as refused:
        export.place(tmp_path, {digest(wrong): wrong})

    for part in ("the sha256 what it has", f"other has 5 bytes and the sha256 {digest(wrong)}"):
        assert part in str(refused.value.details)


def test_a_disk_that_is_full_is_said_to_be_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpack, "_extract", full)  # tmpfs needs a namespace, which is slow
    export = Unpacked(with_xml(tmp_path, disk("vdb-0.raw", "raw"), RAW, data=b"x"))

    with pytest.raises(ConfigurationError) as refused:
        export.place(tmp_path, {})

    assert refused.value.brief == f"{tmp_path}: No space left on device"
    assert "It needs up to 1 MiB, and " in str(refused.value.details)


@pytest.mark.parametrize("is_used", [True, False])
def test_a_directory_stays_only_if_a_vm_runs_from_it(tmp_path: Path, *, is_used: bool) -> None:
    directory = tmp_path / "vm.tar.d"

    with pytest.raises(KeyboardInterrupt), new_directory(directory, lambda: is_used):
        raise KeyboardInterrupt

    assert directory.exists() == is_used


def test_a_vm_may_run_if_nobody_can_say() -> None:
    assert unpack.may_run("test:///no/such/file", "vm", Path())


def test_a_vm_runs_from_the_directory_of_its_files(tmp_path: Path) -> None:
    xml = disk("vda-0.qcow2", "qcow2").decode().replace("@DIRECTORY@", str(tmp_path))
    xml = xml.replace("<devices>", "<memory>1024</memory><os><type>hvm</type></os><devices>")
    xml = xml.replace("</disk>", "<target dev='vda'/></disk>").replace("type='kvm'", "type='test'")
    node = tmp_path / "node.xml"
    node.write_text(f"<node>{xml}</node>")

    def runs(domain: str, directory: Path) -> bool:
        return unpack.may_run(f"test://{node}", domain, directory)

    assert runs("vm", tmp_path)
    assert not runs("vm", tmp_path / "other")
    assert not runs("other", tmp_path)
