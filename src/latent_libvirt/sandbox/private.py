# SPDX-License-Identifier: GPL-2.0-only
"""The handle on a private libvirtd: start it, hurt it, stop it, and be sure that nothing is left.

What happens inside the sandbox lives in ``supervisor.py``; what is done with the libvirtd (domains,
volumes) is the caller's business, through :attr:`PrivateLibvirtd.uri`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Final, Self

import libvirt
from lxml import etree
from lxml.builder import E

from latent_libvirt.errors import ConfigurationError, HostError

SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")

# QEMU's sockets lie below the runtime directory, and a socket's path has 107 bytes (unix(7)). The
# longest that libvirt makes there is a channel's: "/libvirt/qemu/channel/target/", then "domain-",
# the domain's number, up to 20 characters of its name, and the channel's name.
LONGEST_RUNTIME_PATH: Final = 24

FALLBACK: Final = Path("/tmp")  # noqa: S108 - for the sockets if TMPDIR is too long a path
_PREFIX: Final = "llv-"

NAMESPACES_RESOLUTION: Final = (
    "If namespaces are not permitted: sysctl kernel.unprivileged_userns_clone=1, or in a "
    "container, start it with the CAP_SYS_ADMIN capability and /proc unmasked. If a file is not: "
    "root has no privilege in a sandbox; run it as the user whose files they are."
)

STOP_DEADLINE: Final = 30.0  # seconds until it is killed

_GONE: Final = "the sandbox has ended"


class PrivateLibvirtd:
    """A libvirtd in session mode with its own configuration, state, storage and sockets.

    It runs in a separate user and PID namespace: the same way for root as for anybody else,
    without a privilege on the machine, and gone with everything it started when this handle is
    stopped, or when the process that holds it dies in whatever way.

    :param directory: receives the storage pools and ``libvirtd.log``; made if need be, and kept.
    :param capability_cache: a directory that keeps what libvirt finds out about QEMU, which takes
        seconds, for the next sandbox. Default: one in ``directory``.
    :param listen: settings (``libvirtd.conf``) under which it also accepts connections from the
        network. Without any, nobody but this user on this machine can reach it.
    :param isolated: whether it has a separate network, with nothing in it. There its guests get an
        address, and reach nothing but :data:`~latent_libvirt.sandbox.supervisor.PORT` of the host,
        where connections are accepted and nothing is said, and what :meth:`forward` opens.
    """

    def __init__(
        self,
        directory: Path,
        *,
        capability_cache: Path | None = None,
        listen: str = "",
        isolated: bool = False,
    ) -> None:
        self.directory = directory.absolute()
        self._isolated = isolated
        self._listen = listen
        # A machine without an SMBIOS would get another one at each start of libvirtd.
        self._identity = f'host_uuid = "{uuid.uuid4()}"\n'
        self._capability_cache = (capability_cache or directory / "capabilities").absolute()
        self._runtime: Path | None = None
        self._supervisor: subprocess.Popen[str] | None = None
        self._one_command = threading.Lock()

    @property
    def uri(self) -> str:
        """What libvirt connects to; the same from :meth:`start` to :meth:`stop`."""
        return f"qemu+unix:///session?socket={_socket(self._started())}"

    @property
    def pid(self) -> int:
        """A process in the sandbox's user and mount namespaces, for who has to enter them."""
        if self._supervisor is None:
            raise RuntimeError("this sandbox is not running")
        return self._supervisor.pid

    @property
    def log(self) -> Path:
        """The file with libvirtd's own messages."""
        return self.directory / "libvirtd.log"

    def start(self) -> None:
        """Start libvirtd and return once it accepts connections.

        :raises ConfigurationError: a program is missing, or namespaces are not allowed here.
        :raises HostError: libvirtd did not come up.
        """
        try:
            self._runtime = self._prepare()
            self._supervisor = self._launch(self._runtime)
            self._await_namespaces(self._supervisor)
            self._command("start")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End libvirtd and every domain at once; return when nothing is left. May be repeated."""
        supervisor, self._supervisor = self._supervisor, None
        runtime, self._runtime = self._runtime, None
        if supervisor is not None:
            _end(supervisor)
        if runtime is not None:
            # The supervisor has removed it, unless it never came to that.
            shutil.rmtree(runtime, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL libvirtd; its domains live on, as they do after a crash."""
        self._command("kill")

    def restart(self) -> None:
        """Start libvirtd under its living domains, after ending the one that may be running."""
        self._command("restart")

    def suspend(self) -> None:
        """Stop libvirtd from doing anything, while its sockets still accept connections."""
        self._command("suspend")

    def resume(self) -> None:
        """Let a suspended libvirtd go on."""
        self._command("resume")

    def kill_domain(self, name: str) -> None:
        """SIGKILL the QEMU of a running domain: what a guest's crash looks like to libvirt."""
        self._command("kill-domain", name)

    @property
    def way_out(self) -> Path:
        """The place of the Unix socket that :meth:`forward` leads to."""
        return self._started() / "way-out"

    def forward(self) -> None:
        """Lead connections to a port of an isolated network to the socket :attr:`way_out`.

        That port is :data:`~latent_libvirt.sandbox.supervisor.FORWARDED_PORT`. The caller listens
        on the socket, and decides what gets out.
        """
        self._command("forward", str(self.way_out))

    def define_storage_pool(self, name: str) -> str:
        """Make and start a storage pool of type ``dir`` below :attr:`directory`; return its name.

        :raises HostError: libvirt refused it.
        """
        target = self.directory / "storage" / name
        try:
            _start_storage_pool(self.uri, name, target)
        except libvirt.libvirtError as error:
            raise HostError(f"storage pool {name} could not be made", details=str(error)) from error
        return name

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _started(self) -> Path:
        if self._runtime is None:
            raise RuntimeError("this sandbox is not running")
        return self._runtime

    def _prepare(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._capability_cache.mkdir(parents=True, exist_ok=True)
        runtime = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=directory_of_sockets()))
        _lay_out(runtime, self._capability_cache)
        (runtime / "libvirt/libvirtd.conf").write_text(self._identity + self._listen)
        return runtime

    def _launch(self, runtime: Path) -> subprocess.Popen[str]:
        libvirtd = _program("libvirtd", package="libvirt-daemon")
        inside = [sys.executable, "-I", "-S", str(SUPERVISOR)]
        network = "isolated" if self._isolated else "shared"
        options = ["--listen"] if self._listen else []
        arguments = [str(runtime), str(self.log), network, libvirtd, *options]
        with self.log.open("a") as log:
            return subprocess.Popen(
                [*_namespaces(isolated=self._isolated), *inside, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | _environment(runtime),
                start_new_session=True,  # Ctrl-C is for the caller to handle, not for libvirtd
            )

    def _await_namespaces(self, supervisor: subprocess.Popen[str]) -> None:
        assert supervisor.stdout is not None
        if supervisor.stdout.readline() == "":
            raise ConfigurationError(
                "a sandbox needs separate user and PID namespaces, which could not be set up",
                details=_last_lines(self.log),
                resolution=NAMESPACES_RESOLUTION,
            )

    def _command(self, word: str, *argument: str) -> None:
        supervisor = self._supervisor
        if supervisor is None:
            raise RuntimeError("this sandbox is not running")
        with self._one_command:
            answer = _ask(supervisor, " ".join((word, *argument)))
        if answer != "ok":
            raise HostError(
                f"the sandbox's libvirtd did not {word}: {answer.removeprefix('error ')}",
                details=_last_lines(self.log),
            )


def directory_of_sockets() -> Path:
    """Return the directory for QEMU's sockets: the temporary one, or /tmp if its path is too long.

    :raises ConfigurationError: the path is too long, and /tmp cannot be written.
    """
    wanted = Path(tempfile.gettempdir())
    # mkdtemp adds eight characters to the prefix.
    if len(os.fsencode(wanted / _PREFIX)) + 8 <= LONGEST_RUNTIME_PATH:
        return wanted
    if FALLBACK.is_dir() and os.access(FALLBACK, os.W_OK | os.X_OK):
        return FALLBACK
    raise ConfigurationError(
        f"{wanted} is too long a path for QEMU's sockets, and {FALLBACK} cannot be written",
        resolution="set TMPDIR to a directory with a path of at most "
        f"{LONGEST_RUNTIME_PATH - len(_PREFIX) - 9} characters",
    )


def _ask(supervisor: subprocess.Popen[str], line: str) -> str:
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    try:
        print(line, file=supervisor.stdin, flush=True)
    except BrokenPipeError:
        return _GONE
    return supervisor.stdout.readline().strip() or _GONE


def _end(supervisor: subprocess.Popen[str]) -> None:
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    supervisor.stdin.close()
    try:
        supervisor.wait(STOP_DEADLINE)
    except subprocess.TimeoutExpired:
        supervisor.kill()  # the kernel kills process 1 with it, and with that the namespace
        supervisor.wait()
    supervisor.stdout.close()


def _namespaces(*, isolated: bool) -> list[str]:
    """Give the command that enters the sandbox's namespaces.

    libvirtd runs in session mode only where it is not root, and only where its user has a record in
    passwd(5): user 1 is in that of every system (daemon or bin). Outside, files stay the caller's.
    """
    unshare = _program("unshare", package="util-linux")
    identity = ["--user", "--map-user=1", "--map-group=1"]
    isolation = ["--pid", "--fork", "--kill-child", "--mount-proc"]
    network = ["--net"] if isolated else []
    # The supervisor needs privileges in there once, and drops them.
    return [unshare, *identity, "--keep-caps", *isolation, *network]


def _environment(runtime: Path) -> dict[str, str]:
    return {
        "HOME": str(runtime),
        "XDG_RUNTIME_DIR": str(runtime / "run"),
        "XDG_CONFIG_HOME": str(runtime),
        "XDG_CACHE_HOME": str(runtime / "cache"),
    }


def _lay_out(runtime: Path, capability_cache: Path) -> None:
    for name in ("run", "libvirt", "cache/libvirt/qemu"):
        (runtime / name).mkdir(parents=True, mode=0o700)
    # Without this libvirtd would start a virtlogd, which outlives it.
    (runtime / "libvirt/qemu.conf").write_text('stdio_handler = "file"\n')
    (runtime / "cache/libvirt/qemu/cache").symlink_to(capability_cache)


def _socket(runtime: Path) -> Path:
    return runtime / "run/libvirt/libvirt-sock"


def _program(name: str, *, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        raise ConfigurationError(
            f"the program {name} is not installed", resolution=f"install the package {package}"
        )
    return found


def _start_storage_pool(uri: str, name: str, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    description = E.pool(E.name(name), E.target(E.path(str(target))), type="dir")
    connection = libvirt.open(uri)
    try:
        pool = connection.storagePoolDefineXML(etree.tostring(description, encoding="unicode"))
        pool.setAutostart(True)  # it is to be there again after restart()
        pool.create()
    finally:
        connection.close()


def _last_lines(log: Path, *, count: int = 10) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
