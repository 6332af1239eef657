# SPDX-License-Identifier: GPL-2.0-only
"""Connecting to a host that may never answer: libvirt itself waits for ever, and cannot be stopped.

Keepalive begins only once a connection stands. Before that, a host that accepts and then says
nothing (its disk hangs, its sshd is stopped) holds the thread that connects. Here is how that is
given up, and how to find out, without losing a thread to each try, when the host is well again.
What is done with a connection is in ``connection.py`` and ``visit.py``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread

import libvirt

OPEN_TIMEOUT = 60.0
"""Seconds that connecting may take, the log-in by ssh included."""

_REHEARSAL = """
import sys, libvirt
libvirt.registerErrorHandler(lambda _context, _error: None, None)
try:
    libvirt.open(sys.argv[1]).close()
except Exception as error:
    sys.exit(str(error.__cause__ or error))
"""


def opened(uri: str) -> libvirt.virConnect:
    """Return a connection to *uri*. Blocks.

    :raises libvirt.libvirtError: the host refuses, or is not there.
    :raises UnicodeDecodeError: it says why, in what is no text.
    """
    try:
        return libvirt.open(uri)
    except SystemError as error:
        # libvirt-python hands out what Python makes of it: an error in the midst of an error.
        raise error.__cause__ or error from None


def within(seconds: float, connect: Callable[[], libvirt.virConnect]) -> libvirt.virConnect:
    """Return what *connect* returns; if it takes longer, what it returns then is closed. Blocks.

    :raises TimeoutError: there was no answer in time; the thread that waits for it is a daemon.
    :raises libvirt.libvirtError: the host refuses, or is not there.
    """
    connected: Future[libvirt.virConnect] = Future()
    Thread(target=_fulfil, args=(connected, connect), daemon=True, name="libvirt open").start()
    try:
        return connected.result(seconds)
    except TimeoutError:
        connected.add_done_callback(_close_unwanted)
        raise TimeoutError(f"no answer within {seconds:g} s") from None


def _fulfil(
    connected: Future[libvirt.virConnect], connect: Callable[[], libvirt.virConnect]
) -> None:
    try:
        connected.set_result(connect())
    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
        connected.set_exception(error)


def _close_unwanted(connected: Future[libvirt.virConnect]) -> None:
    if connected.exception() is None:
        close(connected.result())


def handles(connection: libvirt.virConnect) -> dict[str, libvirt.virStoragePool]:
    """Return the storage pools that were looked up on *connection*, by name.

    They stand for as long as it does, so they go with it: each refers to the connection.
    """
    kept: dict[str, libvirt.virStoragePool] = connection.__dict__.setdefault("_kept_handles", {})
    return kept


def close(connection: libvirt.virConnect) -> None:
    """Close a connection, whatever its state; no event follows. Blocks.

    A callback or a storage pool is a reference, too: with one left, libvirt would keep the
    connection and its ssh. Whatever it says to one of these steps, the next ones follow.
    """
    handles(connection).clear()
    # Not there before the first is registered.
    for callback in list(getattr(connection, "domainEventCallbackID", ())):
        with suppress(Exception):
            connection.domainEventDeregisterAny(callback)
    with suppress(Exception):
        connection.unregisterCloseCallback()
    with suppress(Exception):
        connection.close()


def keep_alive(connection: libvirt.virConnect, interval: int, count: int) -> None:
    """Let libvirt ask every *interval* seconds for a sign of life; *count* may be missing."""
    try:
        connection.setKeepAlive(interval, count)
    except libvirt.libvirtError as error:
        # Drivers inside the process, such as test:///, have nobody to keep alive.
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise


def rehearse(uri: str, *, seconds: float) -> str:
    """Return why one cannot connect to *uri*, or nothing if one can. Blocks.

    It is tried in a separate process: that, and the ssh it may have started, can be killed. The
    process group is that of timeout(1), which ends it even if this process ends first.
    """
    python = [sys.executable, "-c", _REHEARSAL, uri]
    tried = subprocess.run(
        [_timeout_program(), "--signal=KILL", f"{seconds:g}", *python],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if tried.returncode < 0:
        return f"no answer within {seconds:g} s"
    return "" if tried.returncode == 0 else tried.stderr.strip() or "it could not be tried"


def _timeout_program() -> str:
    return shutil.which("timeout") or "/usr/bin/timeout"
