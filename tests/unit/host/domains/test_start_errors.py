# SPDX-License-Identifier: GPL-2.0-only
"""Whose fault it is that a domain does not start."""

from __future__ import annotations

import libvirt
import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.domains import start_errors


class Error(libvirt.libvirtError):  # type: ignore[misc]
    """An error of libvirt's with this code and message."""

    def __init__(self, code: int, message: str) -> None:
        self.err = (code, 0, message, 0, "", "", "", 0, 0)


@pytest.mark.parametrize(
    ("code", "message", "fault"),
    [
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "qemu closed the monitor: Could not open backing file: Could not open '/p/base.qcow2'",
            "image",
        ),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "internal error: process exited: Image is not in qcow2 format",
            "image",
        ),
        (libvirt.VIR_ERR_NO_NETWORK, "Network not found: no network with matching name", "network"),
        (
            libvirt.VIR_ERR_OPERATION_INVALID,
            "Requested operation is not valid: network 'default' is not active",
            "network",
        ),
        (
            libvirt.VIR_ERR_SYSTEM_ERROR,
            "Cannot get interface MTU on 'br9': No such device",
            "network",
        ),
        (
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
            "unsupported configuration: Maximum CPUs greater than specified machine type limit 288",
            "label",
        ),
        (
            libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
            "unsupported configuration: Emulator does not support virt type 'kvm'",
            "",
        ),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "internal error: cannot set up guest memory 'pc.ram': Cannot allocate memory",
            "",
        ),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "internal error: Could not open '/pool/overlay': Permission denied",
            "",
        ),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: No space left on device", ""),
        (libvirt.VIR_ERR_INTERNAL_ERROR, None, ""),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "failed to communicate with bridge helper: stderr=access denied by acl file",
            "network",
        ),
        (libvirt.VIR_ERR_NO_SECRET, "Secret not found: no secret with matching uuid", "image"),
        (libvirt.VIR_ERR_INVALID_NWFILTER, "Invalid network filter: own", "network"),
    ],
)
def test_each_error_is_somebodys(code: int, message: str, fault: str) -> None:
    assert start_errors.at_fault(Error(code, message)) == fault


def test_what_is_not_the_hosts_is_an_error_of_the_configuration_with_all_names() -> None:
    error = Error(libvirt.VIR_ERR_NO_NETWORK, "Network not found: no network 'lab'")

    with pytest.raises(ConfigurationError, match=r"host alpha .* label one, .*network") as told:
        start_errors.check(error, host="alpha", label="one")
    assert "no network 'lab'" in str(told.value)

    start_errors.check(Error(libvirt.VIR_ERR_NO_MEMORY, "no"), host="alpha", label="one")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (libvirt.VIR_ERR_NO_MEMORY, "out of memory"),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "Timed out during operation"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "cannot set up guest memory: Cannot allocate memory"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "internal error: No space left on device"),
    ],
)
def test_what_a_host_lacks_for_now_may_pass(code: int, message: str) -> None:
    assert start_errors.may_pass(Error(code, message))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (libvirt.VIR_ERR_OPERATION_FAILED, "operation failed: save image is incomplete"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "load of migration failed: Invalid argument"),
        (libvirt.VIR_ERR_INTERNAL_ERROR, None),
    ],
)
def test_what_is_wrong_with_a_state_does_not_pass(code: int, message: str) -> None:
    assert not start_errors.may_pass(Error(code, message))
