# SPDX-License-Identifier: GPL-2.0-only
"""A saved memory goes into an export without passwords, and with another XML, byte by byte."""

from __future__ import annotations

import itertools
import mmap
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.guest.protocol import new_password
from latent_libvirt.host.exporting.saved_memory import (
    MOST,
    overwrite_ends,
    portable,
    without_passwords,
)

XML = b"<domain><metadata>secret</metadata></domain>"
SHORT = "<domain/>"


def saved(
    xml: bytes = XML,
    *,
    cookie: bytes = b"<cookie/>\0",
    memory: bytes = b"memory",
    form: int = 0,
) -> bytes:
    data = xml + b"\0"
    header = struct.pack(
        "<16s5I56x", b"LibvirtQemudSave", 2, len(data) + len(cookie), 1, form, len(data)
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

    written = b"".join(without_passwords(cut(data, at), set()))

    assert password[:12] not in written
    assert password[-12:] not in written
    assert len(written) == len(data)


@given(st.lists(st.integers(0, 400)), st.binary())
def test_all_else_stays_as_it_is(at: list[int], data: bytes) -> None:
    assert b"".join(without_passwords(cut(data, at), set())) == data


@given(st.lists(st.integers(0, 400)))
def test_the_xml_is_another_one_and_nothing_has_moved(at: list[int]) -> None:
    whole = saved()

    written = b"".join(portable(cut(whole, at), lambda _xml: SHORT, set()))

    assert len(written) == len(whole)
    assert b"secret" not in written
    assert written.endswith(b"\0<cookie/>\0memory")
    assert written[92:].startswith(SHORT.encode() + b"\0")


@pytest.mark.parametrize(
    "data", [b"", b"short", saved().replace(b"Save", b"Part"), saved()[:100], bytes(500)]
)
def test_what_is_no_saved_memory_is_refused(data: bytes) -> None:
    with pytest.raises(LatentLibvirtError, match="no memory"):
        list(portable([data], lambda xml: xml, set()))


@pytest.mark.parametrize("cookie", [len(saved()), 2**32 - 1])
def test_a_cookie_beyond_what_the_header_counts_is_refused(cookie: int) -> None:
    data = bytearray(saved())
    struct.pack_into("<I", data, 32, cookie)

    with pytest.raises(LatentLibvirtError, match="no memory that libvirt has saved"):
        list(portable([bytes(data)], lambda _xml: SHORT, set()))


def test_an_xml_that_is_no_text_is_refused() -> None:
    with pytest.raises(LatentLibvirtError, match="no memory that libvirt has saved"):
        list(portable([saved(b"\xff<domain/>" + bytes(50))], lambda xml: xml, set()))


def test_a_longer_xml_is_refused() -> None:
    with pytest.raises(LatentLibvirtError, match="longer"):
        list(portable([saved()], lambda xml: xml + " " * 100, set()))


@pytest.mark.parametrize("form", [1, 2, 3, 4, 5, 99])
def test_a_memory_that_is_compressed_is_refused(form: int) -> None:
    with pytest.raises(LatentLibvirtError, match="compressed"):
        list(portable([saved(form=form)], lambda xml: xml, set()))


PAGE = 4096


def page(number: int, *, begin: bytes = b"", end: bytes = b"") -> bytes:
    """Return a page as QEMU writes it: behind its address and what it is."""
    header = struct.pack(">Q", number * PAGE | 0x28)
    return header + begin + os.urandom(PAGE - len(begin) - len(end)) + end


def exported(memory: bytes, at: list[int]) -> bytes:
    """Return what of a memory is in an export."""
    found: set[bytes] = set()
    written = b"".join(without_passwords(cut(memory, at), found))
    with mmap.mmap(-1, len(written)) as mapped:
        mapped[:] = written
        overwrite_ends(mapped, 0, len(written), found)
        return mapped[:]


def is_readable(password: bytes, memory: bytes) -> bool:
    """Return whether more than seven bytes of a password are left in one place."""
    return any(password[at : at + 8] in memory for at in range(len(password) - 7))


CUTS = st.lists(st.integers(0, 5 * PAGE), max_size=9)


@given(CUTS, st.integers(1, 47))
def test_a_password_that_crosses_pages_is_overwritten_in_both(at: list[int], split: int) -> None:
    """The second page is somewhere else, and another copy says what is to be found there."""
    password = new_password().encode()
    memory = b"".join(
        [
            page(9, begin=password[split:] + b'"'),
            page(7),
            page(8, end=password[:split]),
            page(2, begin=b"copy " + password + b" of it"),
        ]
    )

    written = exported(memory, at)

    assert len(written) == len(memory)
    assert not is_readable(password, written)


@given(CUTS, st.integers(6, 47))
def test_a_password_that_crosses_into_the_next_page_needs_no_copy(
    at: list[int], split: int
) -> None:
    password = new_password().encode()
    memory = page(1, end=password[:split]) + page(2, begin=password[split:] + b"\n") + page(3)

    written = exported(memory, at)

    assert len(written) == len(memory)
    assert not is_readable(password, written)


@given(st.integers(1, 47))
def test_what_only_looks_like_an_end_stays(split: int) -> None:
    password, other = new_password().encode(), new_password().encode()
    memory = page(1, begin=password) + page(2, begin=other[split:-1] + b"!")

    written = exported(memory, [])

    assert written[PAGE + 8 :] == memory[PAGE + 8 :]


def test_passwords_that_a_guest_has_made_up_cost_no_memory_and_no_time() -> None:
    made_up = b"\0".join(new_password().encode() for _ in range(10 * MOST))
    found: set[bytes] = set()

    with pytest.raises(LatentLibvirtError, match=f"over {MOST} different passwords"):
        list(without_passwords([made_up], found))

    assert len(found) == MOST + 1


def test_as_many_passwords_as_there_may_be_are_overwritten() -> None:
    passwords = [new_password().encode() for _ in range(MOST)]
    written = exported(b"\0".join(passwords * 2), [])
    assert not any(is_readable(password, written) for password in passwords)


def test_ends_that_follow_each_other_are_all_overwritten() -> None:
    password = new_password().encode()
    end = password[-8:]
    written = exported(password + b"\0" + end * 1000 + password[-20:], [])
    assert end not in written
    assert not is_readable(password, written)
