# SPDX-License-Identifier: GPL-2.0-only
"""The endpoints that workers in guests can connect to: ``c["protocols"]["pb"]["port"]``.

Buildbot takes any endpoint of Twisted's there. Guests are told an address and a TCP port, and speak
no TLS.
"""

from __future__ import annotations

from typing import Final

from latent_libvirt.errors import ConfigurationError

PLAIN: Final = ("tcp", "tcp6")

_REASONS: Final = {
    "ssl": "guests speak no TLS to their master",
    "tls": "guests speak no TLS to their master",
    "unix": "guests share no file system with their master",
}


def refuse_unusable(port: str | int) -> None:
    """See that guests can connect to an endpoint.

    :param port: as ``master.cfg`` has it.
    :raises ConfigurationError: they cannot.
    """
    kind, colon, _ = str(port).partition(":")
    if colon and kind not in PLAIN:
        raise ConfigurationError(
            f"workers in VMs cannot connect to {_brief(kind)}",
            details=_REASONS.get(kind, "guests are told an address and a TCP port"),
            resolution="Set c['protocols'] = {'pb': {'port': 'tcp:9989'}} in master.cfg.",
        )


def _brief(kind: str) -> str:
    """Return what to call an endpoint without what else its string holds."""
    return f"an endpoint '{kind}:...', which c['protocols']['pb']['port'] is"
