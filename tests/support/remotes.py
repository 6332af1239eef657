# SPDX-License-Identifier: GPL-2.0-only
"""A lab's hypervisor as a host elsewhere, by ssh, TLS or a Unix socket; and the way to it cut.

All of it is on the loopback interface, with keys and certificates made for the occasion. The sshd
is dropbear, since the package of OpenSSH's starts a service; the client is OpenSSH's, with the
settings that docs/how-to/connect-a-remote-host.md advises.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trustme

import children
from buildmaster import free_port, wait_for
from lab import Lab
from latent_libvirt.images.programs import program
from relay import Relay


@dataclass(frozen=True)
class Remote:
    """A hypervisor, and the way to it.

    :param cut: breaks all connections that there are; new ones can be made.
    :param suspend: lets connections stand and new ones be accepted, and carries nothing any more.
    :param clients: the processes on this side that belong to connections.
    """

    uri: str
    cut: Callable[[], None]
    suspend: Callable[[], None]
    resume: Callable[[], None]
    clients: Callable[[], list[int]]


@dataclass(frozen=True)
class TlsListener:
    """What libvirtd needs to accept TLS: certificates, made for this, and a free port."""

    directory: Path
    port: int

    @classmethod
    def make(cls, directory: Path) -> TlsListener:
        """Make an authority, and certificates for a host and a client."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "cacert.pem")
        for side, name in (("server", "127.0.0.1"), ("client", "master@example.org")):
            issued = authority.issue_cert(name)
            issued.private_key_pem.write_to_path(directory / f"{side}key.pem")
            issued.cert_chain_pems[0].write_to_path(directory / f"{side}cert.pem")
        return cls(directory, free_port())

    @property
    def settings(self) -> str:
        """What to write into ``libvirtd.conf``."""
        return f"""
listen_tls = 1
listen_tcp = 0
listen_addr = "127.0.0.1"
tls_port = "{self.port}"
ca_file = "{self.directory}/cacert.pem"
cert_file = "{self.directory}/servercert.pem"
key_file = "{self.directory}/serverkey.pem"
"""


def _through(relay: Relay, uri: str) -> Remote:
    return Remote(uri, relay.cut, relay.suspend, relay.resume, clients=list)


@contextmanager
def by_unix(lab: Lab, directory: Path) -> Iterator[Remote]:
    """Reach the lab through another Unix socket than libvirtd's own."""
    relayed = Relay(str(directory / "socket"), str(_runtime(lab) / "libvirt/libvirt-sock"))
    try:
        yield _through(relayed, f"qemu+unix:///session?socket={directory}/socket")
    finally:
        relayed.stop()


@contextmanager
def by_tls(listener: TlsListener) -> Iterator[Remote]:
    """Reach a lab that was started with the settings of *listener* by TLS."""
    port = free_port()
    relayed = Relay(str(port), str(listener.port))
    try:
        yield _through(relayed, f"qemu+tls://127.0.0.1:{port}/session?pkipath={listener.directory}")
    finally:
        relayed.stop()


@contextmanager
def by_ssh(lab: Lab, directory: Path) -> Iterator[Remote]:
    """Reach the lab by ssh, as a user of an sshd of its own."""
    port = free_port()
    ssh = _prepare_client(directory, port)
    with _sshd(lab, directory, port) as sshd:
        yield Remote(
            f"qemu+ssh://remote@127.0.0.1:{port}/session?command={ssh}",
            cut=lambda: _signal(_clients(directory), signal.SIGKILL),
            suspend=lambda: _signal([sshd, *_descendants(sshd)], signal.SIGSTOP),
            resume=lambda: _signal([sshd, *_descendants(sshd)], signal.SIGCONT),
            clients=lambda: _clients(directory),
        )


def _prepare_client(directory: Path, port: int) -> Path:
    """Make keys for both sides, and a command that is ssh with the documented settings.

    docs/how-to/connect-a-remote-host.md lists the settings.

    Users have them in ``~/.ssh/config``, which is not a test's to change.
    """
    for key in ("hostkey", "clientkey"):
        keygen = program("ssh-keygen", package="openssh-client")
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key)], check=True
        )
    host_key = (directory / "hostkey.pub").read_text()
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (directory / "config").write_text(f"""
Host 127.0.0.1
  IdentityFile {directory}/clientkey
  IdentitiesOnly yes
  UserKnownHostsFile {directory}/known_hosts
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 20
  ServerAliveInterval 10
""")
    command = directory / "ssh"
    ssh = program("ssh", package="openssh-client")
    command.write_text(f'#!/bin/sh\nexec {ssh} -F {shlex.quote(str(directory))}/config "$@"\n')
    command.chmod(0o700)
    return command


@contextmanager
def _sshd(lab: Lab, directory: Path, port: int) -> Iterator[int]:
    """Run an sshd; give its process id.

    Anyone who logs in runs commands in a user namespace like the sandbox's own: there too, root is
    to find the libvirtd of a session, not the machine's.
    """
    convert = program("dropbearconvert", package="dropbear-bin")
    host_key = directory / "hostkey.dropbear"
    subprocess.run(
        [convert, "openssh", "dropbear", str(directory / "hostkey"), str(host_key)],
        check=True,
        capture_output=True,
    )
    user_namespace = "unshare --user --map-user=1 --map-group=1"
    environment = f"XDG_RUNTIME_DIR={shlex.quote(str(_runtime(lab)))} LIBVIRT_AUTOSTART=0"
    command = f'{user_namespace} env {environment} sh -c "$SSH_ORIGINAL_COMMAND"'
    log = directory / "sshd.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *children.WITH_US,
                *(program("dropbear", package="dropbear-bin"), "-F", "-E", "-m", "-s"),
                *("-p", f"127.0.0.1:{port}", "-P", str(directory / "sshd.pid")),
                *("-r", str(host_key), "-c", command),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | _names(directory),
        )
    try:
        wait_for("the sshd", lambda: "Not backgrounding" in log.read_text())
        yield process.pid
    finally:
        _signal([*_descendants(process.pid), process.pid], signal.SIGKILL)
        process.wait()


def _names(directory: Path) -> dict[str, str]:
    """Give a user ``remote``, who is anyone who runs this, a home with the authorized key in it."""
    home = directory / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    authorized = home / ".ssh/authorized_keys"
    authorized.write_text((directory / "clientkey.pub").read_text())
    authorized.chmod(0o600)
    user, group = os.getuid(), os.getgid()
    (directory / "passwd").write_text(f"remote:x:{user}:{group}::{home}:/bin/sh\n")
    (directory / "group").write_text(f"remote:x:{group}:\n")
    return {
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": str(directory / "passwd"),
        "NSS_WRAPPER_GROUP": str(directory / "group"),
    }


def _runtime(lab: Lab) -> Path:
    return Path(lab.uri.partition("socket=")[2]).parents[1]


def _clients(directory: Path) -> list[int]:
    """Return the processes of ssh that use the settings in *directory*."""
    wanted = os.fsencode(f"\0-F\0{directory}/config\0")
    return [pid for pid in _processes() if wanted in _read(pid, "cmdline")]


def _descendants(pid: int) -> list[int]:
    children = [int(child) for child in _read(pid, f"task/{pid}/children").split()]
    return [*children, *(each for child in children for each in _descendants(child))]


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _read(pid: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""  # it has ended


def _signal(processes: list[int], what: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, what)
