# SPDX-License-Identifier: GPL-2.0-only
"""A connection for one errand, such as the upload of an image, that is closed after it.

It blocks, so it is for commands and for threads. The connection that a pool holds on to is in
``connection.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from latent_libvirt.errors import HostError
from latent_libvirt.host.libvirtd import (
    event_loop,
    opening,
)

KEEPALIVE_INTERVAL = 15
KEEPALIVE_COUNT = 7
"""A host that says nothing for ``interval * (count + 1)`` seconds is given up (libvirt). That is
long, because what is uploaded over a slow line is in the way of the question and of the answer."""


@contextmanager
def visiting(uri: str) -> Iterator[libvirt.virConnect]:
    """Be connected to *uri* for the length of a ``with`` block.

    There is no limit to how long anything in it takes, as long as the host gives signs of life.

    :raises HostError: the host does not answer, or its libvirt refuses something.
    """
    event_loop.ensure_running()
    try:
        connection = opening.within(opening.OPEN_TIMEOUT, lambda: _connect(uri))
        try:
            yield connection
        finally:
            opening.close(connection)
    except (libvirt.libvirtError, TimeoutError) as error:
        raise HostError(f"libvirt at {uri} refused", details=str(error)) from error
    except UnicodeDecodeError as error:
        raise HostError(f"libvirt at {uri} has sent what is no text", details=str(error)) from error


def _connect(uri: str) -> libvirt.virConnect:
    connection = opening.opened(uri)
    opening.keep_alive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
    return connection
