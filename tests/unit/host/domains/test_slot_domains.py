# SPDX-License-Identifier: GPL-2.0-only
"""What libvirt says when the domain of a slot is there already."""

from __future__ import annotations

import libvirt
import pytest

from latent_libvirt.host import names
from latent_libvirt.host.domains import slot_domains

SLOT = "latent-libvirt-1"
XML = f"""
<domain type='test'>
  <name>{SLOT}</name>
  <uuid>5c4a2cd6-0c9b-4b9a-8f6e-3d5f5d1c8a01</uuid>
  <memory>1024</memory>
  <os><type>hvm</type></os>
</domain>
"""


class Error(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt 9.0's with this message."""

    def __init__(self, message: str) -> None:
        self.err = (0, 0, message, 0, "", "", "", 0, 0)


@pytest.mark.parametrize(
    ("message", "in_the_way"),
    [
        (f"Requested operation is not valid: domain '{SLOT}' is already active", True),
        (f"Requested operation is not valid: domain '{SLOT}' is already being started", True),
        (f"operation failed: domain '{SLOT}' is already being removed", True),
        ("Requested operation is not valid: network 'default' is not active", False),
        ("operation failed: save image is incomplete", False),
    ],
)
def test_a_domain_in_the_way_is_told_from_other_errors(message: str, *, in_the_way: bool) -> None:
    assert slot_domains.was_in_the_way(Error(message)) is in_the_way


def test_libvirt_says_so_of_a_domain_that_runs() -> None:
    connection = libvirt.open("test:///default")
    try:
        connection.createXML(XML, 0)
        with pytest.raises(libvirt.libvirtError) as refused:
            connection.createXML(XML, 0)
        connection.lookupByName(SLOT).destroy()
    finally:
        connection.close()

    assert slot_domains.was_in_the_way(refused.value)


class _EndsBehindTheList:
    """A connection whose domain ends between the list and the look at it."""

    def __init__(self, connection: libvirt.virConnect) -> None:
        self._connection = connection

    def listAllDomains(self) -> list[libvirt.virDomain]:  # noqa: N802 (libvirt's name)
        found = self._connection.listAllDomains()
        self._connection.lookupByName(SLOT).destroy()
        return list(found)


def test_a_domain_that_ends_while_it_is_looked_at_is_nobodys() -> None:
    connection = libvirt.open("test:///default")
    try:
        connection.createXML(XML, 0)
        assert [domain.slot for domain in slot_domains.slot_domains(connection)] == [1]
        assert slot_domains.slot_domains(_EndsBehindTheList(connection)) == []
    finally:
        connection.close()


def test_a_domain_with_the_uuid_of_a_slot_is_in_that_slot_whatever_its_name() -> None:
    uuid = names.slot_uuid("a host", 7)
    other = XML.replace(SLOT, "web").replace("5c4a2cd6-0c9b-4b9a-8f6e-3d5f5d1c8a01", uuid)
    connection = libvirt.open("test:///default")
    try:
        domain = connection.defineXML(other)
        (found,) = slot_domains.slot_domains(connection, "a host")
        domain.undefine()
    finally:
        connection.close()

    assert (found.slot, found.name, found.active, found.record) == (7, "web", False, None)


class _Unread:
    """A domain whose metadata libvirt does not give, with this error."""

    def __init__(self, code: int, message: str) -> None:
        self._error = Error(message)
        self._error.err = (code, *self._error.err[1:])

    def metadata(self, *_arguments: object) -> str:
        raise self._error


def test_an_error_that_says_nothing_of_whose_it_is_is_no_strangers() -> None:
    locked = _Unread(
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        "Timed out during operation: cannot acquire state change lock",
    )

    with pytest.raises(libvirt.libvirtError, match="state change lock"):
        slot_domains.vm_record(locked)


def test_a_domain_that_access_rules_hide_is_a_strangers() -> None:
    # A fake: such rules need polkit and a libvirtd of the system.
    denied = _Unread(libvirt.VIR_ERR_ACCESS_DENIED, "access denied: 'domain' denied access")

    assert slot_domains.vm_record(denied) is None
