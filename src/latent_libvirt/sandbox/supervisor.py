# SPDX-License-Identifier: GPL-2.0-only
"""Process 1 of a sandbox: starts libvirtd, reaps what it leaves, takes everything down with it.

``private.py`` runs this file by its path inside a separate PID namespace, so it must stay free of
imports from this package (and of anything but the standard library). Being process 1 there gives
three things for free: orphaned QEMU processes become our children and are reaped at once (libvirt
waits for their zombies when it destroys a domain); nothing can outlive us, because the kernel kills
the rest of the namespace when process 1 ends; and ``kill(-1)`` reaches exactly the sandbox.

Commands come as lines on standard input (a word, and an argument where it takes one), each is
answered by one line on standard output: ``ok``, or ``error`` and a reason. Before the first command
there is one line that says that the sandbox stands. The end of standard input means that the
process that started us is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

LOCKS: Final = "/var/lock"  # where libvirt locks the pseudo-terminal of an open console
START_DEADLINE: Final = 60.0  # seconds for libvirtd to accept its first connection
MS_BIND: Final = 0x1000  # of mount(2); the next two of prctl(2)
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PORT: Final = 9989
"""The port of an isolated sandbox that accepts connections: no master is behind it."""
FORWARDED_PORT: Final = 3128
"""The port of an isolated sandbox that leads out of it, once that is asked for."""
FORWARDER: Final = Path(__file__).with_name("forwarder.py")
SIOCSIFFLAGS: Final = 0x8914  # of netdevice(7); the next one, too
IFF_UP: Final = 1
POLL_INTERVAL: Final = 0.02  # seconds between two attempts to connect


class RefusedError(Exception):
    """A command could not be carried out; the text goes back to its sender."""


class Supervisor:
    """Owns the one libvirtd of a sandbox.

    :param libvirtd: the program, and its options.
    :param runtime: its ``XDG_RUNTIME_DIR``, where its socket and its domains' PID files will be.
    :param log: the file that receives its standard output and error.
    """

    def __init__(self, *, libvirtd: list[str], runtime: Path, log: Path) -> None:
        self._libvirtd = libvirtd
        self._runtime = runtime
        self._log = log
        self._daemon: int | None = None
        self._commands: dict[str, Callable[..., None]] = {
            "start": self.start,
            "restart": self.restart,
            "kill": lambda: self._end(signal.SIGKILL),
            "suspend": lambda: os.kill(self._running(), signal.SIGSTOP),
            "resume": lambda: os.kill(self._running(), signal.SIGCONT),
            "kill-domain": self.kill_domain,
            "forward": self.forward,
        }

    def serve(self) -> None:
        """Say that the sandbox stands, then carry out commands until standard input ends."""
        _say("ready")
        for line in sys.stdin:
            _say(self._answer(line))

    def _answer(self, line: str) -> str:
        command, *arguments = line.strip().split(maxsplit=1)
        try:
            self._commands[command](*arguments)
        except (RefusedError, OSError) as error:
            return f"error {error}"
        return "ok"

    def start(self) -> None:
        """Start libvirtd and return once it accepts connections."""
        if self._daemon is not None:
            raise RefusedError("libvirtd is running already")
        listening = self._runtime / "libvirt/libvirt-sock"
        listening.unlink(missing_ok=True)
        self._daemon = self._spawn()
        deadline = time.monotonic() + START_DEADLINE
        while not _accepts(listening):
            if self._daemon is None:
                raise RefusedError("libvirtd ended before it accepted a connection")
            if time.monotonic() > deadline:
                raise RefusedError(f"libvirtd accepted no connection within {START_DEADLINE:.0f} s")
            time.sleep(POLL_INTERVAL)

    def restart(self) -> None:
        """Start libvirtd, after ending the one that may be running."""
        if self._daemon is not None:
            self._end(signal.SIGTERM)
        self.start()

    def kill_domain(self, name: str) -> None:
        """Kill a domain's QEMU behind libvirtd's back."""
        pid_file = self._runtime / f"libvirt/qemu/run/{name}.pid"
        os.kill(int(pid_file.read_text()), signal.SIGKILL)

    def forward(self, path: str) -> None:
        """Lead connections to :data:`FORWARDED_PORT` to a Unix socket outside of the sandbox."""
        self._run([sys.executable, "-I", "-S", str(FORWARDER), str(FORWARDED_PORT), path])
        deadline = time.monotonic() + START_DEADLINE
        while not _is_open(FORWARDED_PORT):
            if time.monotonic() > deadline:
                raise RefusedError(f"nothing listens at port {FORWARDED_PORT}")
            time.sleep(POLL_INTERVAL)

    def _spawn(self) -> int:
        return self._run(self._libvirtd)

    def _run(self, command: list[str]) -> int:
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            command[0],
            command,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self._log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )

    def _running(self) -> int:
        if self._daemon is None:
            raise RefusedError("libvirtd is not running")
        return self._daemon

    def _end(self, how: signal.Signals) -> None:
        daemon = self._running()
        os.kill(daemon, signal.SIGCONT)  # a suspended process would not act on SIGTERM
        os.kill(daemon, how)
        # The handler for SIGCHLD may win the race for the exit status: then there is no such child.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(daemon, 0)
        self._daemon = None

    def reap(self, *_signal: object) -> None:
        """Collect every process that has ended: libvirtd itself, and orphans that became ours."""
        while (pid := _ended()) is not None:
            if pid == self._daemon:
                self._daemon = None


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _accepts(listening: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(listening))
        except OSError:
            return False
    return True


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _ended() -> int | None:
    try:
        pid, _status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return pid or None


def _listen_alone() -> socket.socket:
    """Bring up the loopback of this separate network, and listen there; return the socket.

    The kernel accepts connections for as long as it is open.
    """
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP) + bytes(22))
    return socket.create_server(("127.0.0.1", PORT), backlog=128)


def _keep_locks_in(directory: Path) -> None:
    """Give the sandbox a separate directory for libvirt's locks of consoles.

    They name a process by its number in here, which everywhere else is somebody else's: the
    next user of that pseudo-terminal would find it locked for ever. What that takes is dropped
    after it: libvirtd is to have no privilege.

    :raises OSError: the kernel refuses.
    """
    directory.mkdir(mode=0o700)
    libc = ctypes.CDLL(None, use_errno=True)
    locks = os.fsencode(os.path.realpath(LOCKS))
    if libc.mount(os.fsencode(directory), locks, None, MS_BIND, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot mount over {LOCKS}: {os.strerror(number)}")
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)


def _kill_everything() -> None:
    """Kill every other process of the namespace and wait until all of them are gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def main(directory: str, log: str, network: str, *libvirtd: str) -> None:
    """Serve until standard input ends, then leave neither process nor ``directory`` behind."""
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    listening = _listen_alone() if network == "isolated" else None
    _keep_locks_in(Path(directory, "locks"))
    supervisor = Supervisor(libvirtd=list(libvirtd), runtime=runtime, log=Path(log))
    signal.signal(signal.SIGCHLD, supervisor.reap)
    try:
        supervisor.serve()
    finally:
        _kill_everything()
        shutil.rmtree(directory, ignore_errors=True)
        if listening is not None:
            listening.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
