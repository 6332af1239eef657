# SPDX-License-Identifier: GPL-2.0-only
"""A saved memory goes into an export without passwords, and with another XML, byte by byte."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.guest.protocol import new_password
from latent_libvirt.host.exporting.saved_memory import portable, without_passwords

XML = b"<domain><metadata>secret</metadata></domain>"
SHORT = "<domain/>"


def saved(xml: bytes = XML, *, cookie: bytes = b"<cookie/>\0", memory: bytes = b"memory") -> bytes:
    data = xml + b"\0"
    header = struct.pack(
        "<16s5I56x", b"LibvirtQemudSave", 2, len(data) + len(cookie), 1, 0, len(data)
    )
    return header + data + cookie + memory


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({min(each, len(data)) for each in at} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


@given(st.lists(st.integers(0, 400)), st.binary(max_size=99), st.binary(max_size=99))
def test_a_password_is_overwritten_wherever_it_is_cut(
    at: list[int], before: bytes, after: bytes
) -> None:
    password = new_password().encode()
    data = before + password + b"\0" + after

    written = b"".join(without_passwords(cut(data, at)))

    assert password[:12] not in written
    assert password[-12:] not in written
    assert len(written) == len(data)


@given(st.lists(st.integers(0, 400)), st.binary())
def test_all_else_stays_as_it_is(at: list[int], data: bytes) -> None:
    assert b"".join(without_passwords(cut(data, at))) == data


@given(st.lists(st.integers(0, 400)))
def test_the_xml_is_another_one_and_nothing_has_moved(at: list[int]) -> None:
    whole = saved()

    written = b"".join(portable(cut(whole, at), lambda _xml: SHORT))

    assert len(written) == len(whole)
    assert b"secret" not in written
    assert written.endswith(b"\0<cookie/>\0memory")
    assert written[92:].startswith(SHORT.encode() + b"\0")


@pytest.mark.parametrize(
    "data", [b"", b"short", saved().replace(b"Save", b"Part"), saved()[:100], bytes(500)]
)
def test_what_is_no_saved_memory_is_refused(data: bytes) -> None:
    with pytest.raises(LatentLibvirtError, match="no memory"):
        list(portable([data], lambda xml: xml))


def test_a_longer_xml_is_refused() -> None:
    with pytest.raises(LatentLibvirtError, match="longer"):
        list(portable([saved()], lambda xml: xml + " " * 100))
