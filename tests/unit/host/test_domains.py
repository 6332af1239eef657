# SPDX-License-Identifier: GPL-2.0-only
"""What libvirt says when the domain of a slot is there already."""

from __future__ import annotations

import libvirt
import pytest

from latent_libvirt.host import domains

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
    assert domains.was_in_the_way(Error(message)) is in_the_way


def test_libvirt_says_so_of_a_domain_that_runs() -> None:
    connection = libvirt.open("test:///default")
    try:
        connection.createXML(XML, 0)
        with pytest.raises(libvirt.libvirtError) as refused:
            connection.createXML(XML, 0)
        connection.lookupByName(SLOT).destroy()
    finally:
        connection.close()

    assert domains.was_in_the_way(refused.value)
