# SPDX-License-Identifier: GPL-2.0-only
"""Files that a guest sends and reads, on Buildbot's own ends of a transfer."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from buildbot.process.remotetransfer import (
    DirectoryWriter,
    FileReader,
    FileWriter,
    StringFileWriter,
)

from latent_libvirt.master import uploads
from latent_libvirt.master.uploads import RefusedError


@pytest.fixture(autouse=True)
def _installed() -> None:
    uploads.install()


def _archive(*members: tuple[str, bytes | None, str]) -> bytes:
    """Return an archive of members: name, kind (none for a file), and what it leads to."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, target in members:
            member = tarfile.TarInfo(name)
            member.type = kind or tarfile.REGTYPE
            member.linkname = target
            member.size = 0 if kind else 5
            archive.addfile(member, None if kind else io.BytesIO(b"hello"))
    return buffer.getvalue()


def _uploaded(root: Path, archive: bytes) -> Any:
    writer = DirectoryWriter(str(root), None, None, None)
    writer.remote_write(archive)
    return writer


def _upload(root: Path, archive: bytes) -> None:
    writer = _uploaded(root, archive)
    writer.remote_close()
    uploads.unpack(writer.tarname, writer.destroot, writer.compress)


LINK, HARD, DEVICE, FIFO = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE

ESCAPES: dict[str, tuple[tuple[str, bytes | None, str], ...]] = {
    "a name with dots": (("../evil", None, ""),),
    "dots after a folder": (("a/../../evil", None, ""),),
    "a name from the root": (("/tmp/latent-libvirt-evil", None, ""),),
    "a link out": (("link", LINK, ".."), ("link/evil", None, "")),
    "a link to the root": (("link", LINK, "/"), ("link/tmp/latent-libvirt-evil", None, "")),
    "a link to a link": (
        ("a", LINK, "."),
        ("a/b", LINK, ".."),
        ("a/b/evil", None, ""),
    ),
    "a hard link out": (("hard", HARD, "../secret"),),
    "a hard link over a link": (("here", LINK, "."), ("hard", HARD, "here/../secret")),
    "a device": (("null", DEVICE, ""),),
    "a pipe": (("pipe", FIFO, ""),),
}


@pytest.mark.parametrize("filters", [True, False], ids=["filters", "no filters"])
@pytest.mark.parametrize("how", ESCAPES)
def test_an_uploaded_folder_writes_nothing_outside_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, *, filters: bool
) -> None:
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (tmp_path / "secret").write_text("secret")
    root = tmp_path / "uploaded"

    with pytest.raises(RefusedError):
        _upload(root, _archive(*ESCAPES[how]))

    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret", "uploaded"]
    assert (tmp_path / "secret").read_text() == "secret"
    assert not Path("/tmp/latent-libvirt-evil").exists()


def test_an_uploaded_folder_with_links_of_its_own_is_taken(tmp_path: Path) -> None:
    root = tmp_path / "uploaded"
    archive = _archive(
        (".", tarfile.DIRTYPE, ""),
        ("./a", tarfile.DIRTYPE, ""),
        ("./a/file", None, ""),
        ("./a/link", LINK, "../a/file"),
        ("./hard", HARD, "./a/file"),
    )

    _upload(root, archive)

    texts = [(root / name).read_text() for name in ("a/file", "a/link", "hard")]
    assert texts == ["hello", "hello", "hello"]


def test_what_is_no_archive_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="cannot be unpacked"):
        _upload(tmp_path / "uploaded", b"no archive" * 1000)


def _header(name: str, kind: bytes, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


LONG = 8 * 1024**2
LONG_NAME = _header("long", tarfile.GNUTYPE_LONGNAME, LONG) + bytes(LONG)
PAX = _header("pax", tarfile.XHDTYPE, 512) + b"11 path=ab\n".ljust(512, b"\0")

BOMBS: dict[str, bytes] = {
    "a name of 8 MiB": LONG_NAME,
    "a name of 8 GiB": _header("long", tarfile.GNUTYPE_LONGNAME, 8 * 1024**3) + bytes(LONG),
    "one after a file": _header("file", tarfile.REGTYPE, 0) + LONG_NAME,
    "names of names": PAX * 3_000,
    "a sparse file in endless pieces": (
        _header("sparse", tarfile.GNUTYPE_SPARSE, 0)[:482] + b"\x01" + bytes(29)
    )
    + (bytes(504) + b"\x01" + bytes(7)) * 4_000,
}


@pytest.mark.parametrize("compress", ["gz", "bz2"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_an_uploaded_folder_is_not_read_for_long_without_a_file(
    tmp_path: Path, bomb: str, compress: str
) -> None:
    packed = {"gz": gzip, "bz2": bz2}[compress].compress(bytes(BOMBS[bomb]))
    writer = DirectoryWriter(str(tmp_path / "uploaded"), None, compress, None)
    writer.remote_write(packed)
    writer.remote_close()
    tracemalloc.start()

    try:
        with pytest.raises(RefusedError):
            uploads.unpack(writer.tarname, writer.destroot, writer.compress)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < LONG / 2
    assert not Path(writer.tarname).exists()


def test_an_uploaded_folder_has_so_many_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MOST_FILES", 3)
    root = tmp_path / "uploaded"
    _upload(root, _archive(*[(f"file-{n}", None, "") for n in range(3)]))

    with pytest.raises(RefusedError, match="more than 3 files"):
        _upload(root, _archive(*[("file", tarfile.DIRTYPE, "")] * 4))


@pytest.mark.parametrize(
    "members",
    [
        [("x" * 300, None, "")],
        [("file", None, ""), ("file/in it", None, "")],
        [("hard", HARD, "nowhere")],
    ],
    ids=["a long name", "a file in a file", "a link to nothing"],
)
def test_what_the_masters_disk_cannot_have_is_refused_in_a_sentence(
    tmp_path: Path, members: list[tuple[str, bytes | None, str]]
) -> None:
    with pytest.raises(RefusedError):
        _upload(tmp_path / "uploaded", _archive(*members))


@pytest.mark.parametrize("compress", ["gz", "bz2", None])
def test_a_folder_may_be_compressed_and_is_refused_when_its_end_is_missing(
    tmp_path: Path, compress: str | None
) -> None:
    members = [(f"file-{number}", None, "") for number in range(100)]
    how: Any = {"gz": gzip.compress, "bz2": bz2.compress}.get(compress or "", bytes)
    packed = how(_archive(*members))

    for name, sent in (
        ("whole", packed),
        ("cut", packed[: len(packed) * 3 // 4 if compress else 700]),
    ):
        writer = DirectoryWriter(str(tmp_path / name), None, compress, None)
        writer.remote_write(sent)
        writer.remote_close()
        with pytest.raises(RefusedError) if name == "cut" else contextlib.nullcontext():
            uploads.unpack(writer.tarname, writer.destroot, writer.compress)

    assert len([*(tmp_path / "whole").iterdir()]) == 100


@pytest_twisted.ensureDeferred
async def test_a_folder_is_unpacked_when_the_worker_asks_for_it(tmp_path: Path) -> None:
    writer = _uploaded(tmp_path / "uploaded", _archive(("file", None, "")))
    asked = writer.remote_unpack()
    assert not asked.called  # it is done in a thread

    await asked

    assert [*(tmp_path / "uploaded").iterdir()] == [tmp_path / "uploaded" / "file"]


def _disk(free: int) -> SimpleNamespace:
    return SimpleNamespace(f_bavail=free, f_frsize=1, f_files=1_000_000, f_favail=1_000_000)


def test_an_upload_leaves_some_of_the_disk_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is filled on paper: a small one has less free than has to stay."""
    writer = FileWriter(str(tmp_path / "file"), None, None)
    writer.remote_write(b"some")
    full = _disk(uploads.KEPT_FREE + 2)
    monkeypatch.setattr(os, "statvfs", lambda _path: full)

    with pytest.raises(RefusedError, match="1 GiB of the disk"):
        writer.remote_write(b"more")
    writer.cancel()


def test_an_upload_leaves_room_for_files_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is filled on paper: a real one needs millions of files."""
    full = _disk(uploads.KEPT_FREE + 1)
    full.f_favail = uploads.KEPT_FREE_FILES - 1
    monkeypatch.setattr(os, "statvfs", lambda _path: full)

    with pytest.raises(RefusedError, match="10,000 files have to fit"):
        uploads.refuse_if_full(tmp_path, 0)
    full.f_files = full.f_favail = 0  # as btrfs says
    uploads.refuse_if_full(tmp_path, 0)


def test_a_file_that_a_step_keeps_in_memory_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_TEXT", 10)
    writer = StringFileWriter()
    writer.remote_write(b"0123456789")

    with pytest.raises(RefusedError):
        writer.remote_write(b"0")


@pytest.mark.parametrize("length", [-1, "all", None, 10**30])
def test_a_guest_reads_a_file_in_pieces(length: Any) -> None:
    reader = FileReader(io.BytesIO(b"x" * 2 * uploads.MOST_AT_ONCE))
    try:
        piece = reader.remote_read(length)
    except RefusedError:
        return
    assert len(piece) == uploads.MOST_AT_ONCE
