# SPDX-License-Identifier: GPL-2.0-only
"""What to do about a libvirt that does not answer."""

from __future__ import annotations

import pytest

from latent_libvirt.doctor.connectivity import advice

ADVICE = [
    (
        "qemu+ssh://ann@alpha/system",
        "Cannot recv data: Host key verification failed.",
        "'ssh ann@alpha true' must work",
    ),
    ("qemu+ssh://alpha/system", "Cannot recv data", "'ssh alpha true' must work"),
    ("qemu+ssh://ann@alpha:2222/system", "Cannot recv data", "'ssh -p 2222 ann@alpha true' must"),
    (
        "qemu+tls://alpha/system",
        "authentication failed: Failed to verify peer's certificate",
        "must be for the name in the URI",
    ),
    (
        "qemu:///system",
        "Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied",
        "group libvirt",
    ),
    (
        "qemu:///system",
        "authentication unavailable: no polkit agent available",
        "group libvirt",
    ),
    (
        "qemu:///system",
        "Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory",
        "systemctl start libvirtd",
    ),
    ("qemu+tls://alpha/system", "no answer within 20 s", "is not stuck"),
]


@pytest.mark.parametrize(("uri", "reason", "expected"), ADVICE)
def test_each_reason_has_its_cure_and_a_command_that_proves_it(
    uri: str, reason: str, expected: str
) -> None:
    told = advice(uri, reason)
    assert expected in told
    assert told.endswith(f"must answer, as the user the master runs as:\n  virsh -c {uri} version")
