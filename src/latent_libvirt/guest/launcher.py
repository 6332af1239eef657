# SPDX-License-Identifier: GPL-2.0-only
"""The launcher: turns a VM that waits into a Buildbot worker.

It runs as root inside the guest, started by the init system. It imports the worker, which is most
of the work, says ``waiting`` on the virtio-serial port ``org.latent_libvirt.0``, and blocks. The
pool answers with an identity; the launcher seeds the kernel's random pool, sets the clock and the
host name, waits until the master can be reached, says ``starting``, drops its privileges, and is
the worker from then on. Before that, the pool may ask it to get ready for being saved: then many
VMs go on from this one, and the identity takes from each what it would share with the others; and
to rehearse, so that it is quicker afterwards. A worker that its master has let go leaves the VM as
it is: somebody may want to look into it, and the pool ends it when nobody does. In all other cases
the process ends, and the VM is to end with it.

The standard library of Python 3.8 to 3.13, buildbot-worker and the modules of
:data:`LAUNCHER_FILES`: images may carry them without anything else of this package
(``docs/reference/image-contract.md``). What the host does is in
``latent_libvirt.host.guests.guest``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import importlib.util
import ipaddress
import json
import math
import os
import pwd
import random
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Final, NoReturn

PORT_NAME: Final = "org.latent_libvirt.0"
WORKER_PORT_NAME: Final = "org.latent_libvirt.worker.0"
"""The port that takes the worker's connection, where the label wants a channel for it."""
NETWORK_PORT_NAME: Final = "org.latent_libvirt.network.0"
"""The port that takes what builds fetch, where the label allows anything."""
PROXY_PORT: Final = 3128
"""The port of the loopback where builds find a proxy for HTTP, unless another program has it."""
PROTOCOL: Final = 1
MAX_LINE_BYTES: Final = 64 * 1024

PORT_DEADLINE: Final = 60.0
"""Seconds until the virtio-serial port must have appeared."""
NETWORK_PATIENCE: Final = 10.0
"""Seconds that a VM waits for an address before it says that it waits, with or without one."""
MASTER_DEADLINE: Final = 30.0
"""Seconds until the master must have accepted a connection."""
CONNECT_TIMEOUT: Final = 5.0
POLL_INTERVAL: Final = 0.05
LOGIN_ATTEMPTS: Final = 5
"""Failed attempts in a row after which the worker gives up: its password opens only one door."""

LAUNCHER_FILES: Final = ("launcher.py", "channel_link.py", "channel_proxy.py")
"""The files that an image carries side by side, in the directory of this one."""

SITE: Final = Path(__file__).resolve().parent / "site-packages"
"""Where an image may keep buildbot-worker so that builds do not see it."""

Message = Dict[str, Any]


class LauncherError(Exception):
    """The VM cannot become a worker; the text tells the pool why."""


# The identity. Everything below is decided by what comes through the channel, so all of it is
# checked here, and nowhere else.

_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HOST_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_HOST_LABEL}(\.{_HOST_LABEL})*")
_SESSION: Final = re.compile("[0-9a-f]{16}")
_OLDEST_TIME: Final = 1_500_000_000.0
_NEWEST_TIME: Final = 10_000_000_000.0
_MAX_TEXT: Final = 256
_MIN_ENTROPY: Final = 32
_MAX_ENTROPY: Final = 1024


@dataclass(frozen=True)
class Identity:
    """Who this VM is to be.

    :param time: seconds since the epoch.
    :param entropy: bytes that nobody else knows, for the kernel's random pool.
    :param user: the user of this guest that runs the worker.
    :param certificate: the master's, in DER; ``None`` if its port is plain TCP.
    :param channel: the session of the worker's channel; ``None`` if the worker connects by TCP.
        Then the master's host and port lead to the proxy in this machine.
    :param network: the session of the channel to the forward proxy; ``None`` if there is none.
    :param saved: when this VM got ready to be saved, by its own clock; ``None`` if it never did.
    """

    name: str
    password: str = field(repr=False)
    master_host: str
    master_port: int
    time: float
    hostname: str
    entropy: bytes = field(repr=False)
    user: str
    certificate: bytes | None = None
    channel: str | None = None
    network: str | None = None
    saved: float | None = None


def parse_identity(message: Message) -> Identity:
    """Return the identity in an ``identity`` message.

    :raises LauncherError: any part of it is missing or not what it must be.
    """
    master = _expect(message, "master", dict)
    return Identity(
        name=_text(message, "name"),
        password=_text(message, "password"),
        **_way_to_master(master),
        time=_time(message, "time"),
        hostname=_matching(message, "hostname", _HOST_NAME),
        entropy=_entropy(message, "entropy"),
        user=_matching(message, "user", _USER),
        network=_matching(message, "network", _SESSION) if "network" in message else None,
    )


def _way_to_master(master: Message) -> dict[str, Any]:
    if "channel" in master:
        session = _matching(master, "channel", _SESSION)
        return {"channel": session, "master_host": "127.0.0.1", "master_port": 0}
    return {
        "master_host": _address(master, "host"),
        "master_port": _port(master, "port"),
        "certificate": _certificate(master, "certificate"),
    }


def _expect(message: Message, key: str, *types_: type) -> Any:
    value = message.get(key)
    if type(value) not in types_:
        raise LauncherError(f"identity: {key} is missing or of the wrong type")
    return value


def _invalid(key: str) -> LauncherError:
    # The value is not repeated: the mistake may be that it holds the password.
    return LauncherError(f"identity: {key} is not valid")


def _text(message: Message, key: str) -> str:
    value = _expect(message, key, str)
    if not 0 < len(value) <= _MAX_TEXT or not value.isprintable():
        raise _invalid(key)
    return str(value)


def _matching(message: Message, key: str, pattern: re.Pattern[str]) -> str:
    value = _expect(message, key, str)
    if not pattern.fullmatch(value):
        raise _invalid(key)
    return str(value)


def _address(message: Message, key: str) -> str:
    value = _expect(message, key, str)
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        return _matching(message, key, _HOST_NAME)


def _port(message: Message, key: str) -> int:
    value = _expect(message, key, int)
    if not 0 < value < 65536:  # noqa: PLR2004
        raise _invalid(key)
    return int(value)


def _time(message: Message, key: str) -> float:
    value = _expect(message, key, int, float)
    if not math.isfinite(value) or not _OLDEST_TIME < value < _NEWEST_TIME:
        raise _invalid(key)
    return float(value)


def _certificate(message: Message, key: str) -> bytes | None:
    if message.get(key) is None:
        return None
    value = _expect(message, key, str)
    try:
        return ssl.PEM_cert_to_DER_cert(value)
    except ValueError:
        raise _invalid(key) from None


def _entropy(message: Message, key: str) -> bytes:
    try:
        value = base64.b64decode(_expect(message, key, str), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(key) from None
    if not _MIN_ENTROPY <= len(value) <= _MAX_ENTROPY:
        raise _invalid(key)
    return value


# The channel.


class LineBuffer:
    """Cuts what arrives into lines, and forgets a line that has no end in sight."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that *data* completes, without their ends.

        :raises LauncherError: a line is longer than the protocol allows.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) > MAX_LINE_BYTES for line in (*lines, self._rest)):
            self._rest = b""
            raise LauncherError("a line on the channel is too long")
        return lines

    def reset(self) -> None:
        """Forget the beginning of a line: anyone who wrote it has gone."""
        self._rest = b""


def parse_message(line: bytes) -> Message:
    """Return the message on a line of the channel.

    :raises LauncherError: it is not a JSON object of this protocol.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise LauncherError("a line on the channel is not JSON") from None
    if not isinstance(message, dict):
        raise LauncherError("a line on the channel is not a JSON object")
    if message.get("protocol") != PROTOCOL:
        raise LauncherError(f"the pool does not speak protocol {PROTOCOL}")
    return message


class Channel:
    """The guest's end of the virtio-serial port.

    :param descriptor: of the open port; blocking.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = LineBuffer()

    def fileno(self) -> int:
        """Return the descriptor, for poll()."""
        return self._descriptor

    @property
    def is_open(self) -> bool:
        """Whether the conversation still goes on."""
        return self._descriptor >= 0

    def send(self, type_: str, **content: str | float) -> None:
        """Write a message; wait until somebody on the host listens."""
        message = {"type": type_, "protocol": PROTOCOL, **content}
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]

    def receive(self) -> list[Message]:
        """Return the messages that are there; none if nobody on the host listens."""
        data = os.read(self._descriptor, MAX_LINE_BYTES)
        if not data:
            self._buffer.reset()
            time.sleep(POLL_INTERVAL)
        return [parse_message(line) for line in self._buffer.feed(data) if line.strip()]

    def close(self) -> None:
        """Close the port: the conversation is over."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def open_port(port: str = PORT_NAME) -> int:
    """Open a virtio-serial port; wait until it is there.

    :raises LauncherError: it did not appear in time.
    """
    path = poll_for(lambda: find_port(port=port), PORT_DEADLINE)
    if path is None:
        raise LauncherError(f"this machine has no virtio-serial port {port}")
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def find_port(
    ports: Path = Path("/sys/class/virtio-ports"), *, port: str = PORT_NAME
) -> Path | None:
    """Return the port's device, or ``None`` as long as there is none.

    The kernel's own names are used, not udev's link: it may not run, or not have come that far.
    """
    for name in ports.glob("*/name"):
        if name.read_text().strip() == port:
            return Path("/dev", name.parent.name)
    return None


def poll_for(condition: Callable[[], Any], deadline: float) -> Any:
    """Return the first true result of *condition*, or its last one after *deadline* seconds."""
    end = time.monotonic() + deadline
    while not (result := condition()) and time.monotonic() < end:
        time.sleep(POLL_INTERVAL)
    return result


# The power button. libvirt's shutdown presses it; ending this process ends the VM in good order.

_INPUT_EVENT: Final = struct.Struct("llHHi")
_EV_KEY: Final = 1
_KEY_POWER: Final = 116


class PowerButton:
    """The machine's power button, where it has one."""

    def __init__(self, inputs: Path = Path("/sys/class/input")) -> None:
        self._descriptors = [
            os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            for device in find_power_buttons(inputs)
        ]

    def filenos(self) -> list[int]:
        """Return the descriptors, for poll()."""
        return self._descriptors

    @staticmethod
    def is_pressed(descriptor: int) -> bool:
        """Read what there is to read; tell whether the button was pressed."""
        data = os.read(descriptor, _INPUT_EVENT.size * 64)
        events = _INPUT_EVENT.iter_unpack(data)
        return any(event[2:] == (_EV_KEY, _KEY_POWER, 1) for event in events)


def find_power_buttons(inputs: Path) -> Iterator[Path]:
    """Yield the devices of all power buttons."""
    for name in inputs.glob("event*/device/name"):
        device = Path("/dev/input", name.parents[1].name)
        if name.read_text().strip() == "Power Button" and device.exists():
            yield device


# What an identity does to the machine.

_RNDADDENTROPY: Final = 0x40085203
_RNDRESEEDCRNG: Final = 0x5207


def add_entropy(entropy: bytes) -> None:
    """Mix *entropy* into the kernel's random pool and this process's, and use it from now on.

    A VM that was resumed from a saved state has the same pool as all others resumed from it.
    """
    request = struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy
    with open("/dev/urandom", "wb", buffering=0) as device:  # noqa: PTH123
        fcntl.ioctl(device, _RNDADDENTROPY, request)
        fcntl.ioctl(device, _RNDRESEEDCRNG)
    random.seed()


def set_hostname(hostname: str, etc: Path = Path("/etc")) -> None:
    """Call the machine *hostname*, and let it find itself under that name."""
    socket.sethostname(hostname)
    (etc / "hostname").write_text(f"{hostname}\n")
    with (etc / "hosts").open("a") as hosts:
        hosts.write(f"127.0.1.1 {hostname}\n")


def apply(identity: Identity) -> None:
    """Do to the machine what *identity* asks for, as root."""
    add_entropy(identity.entropy)
    time.clock_settime(time.CLOCK_REALTIME, identity.time)
    set_hostname(identity.hostname)
    # systemd takes the hypervisor's UUID of the machine for it, which all VMs of a slot share.
    renew_machine_id()
    if identity.saved is not None:
        part_from_siblings(asleep=identity.time - identity.saved)


# A VM that was saved: others go on from the same memory and the same disk.

_RENEW_ADDRESS: Final = Path("/usr/lib/latent-libvirt/renew-address")
_LEASE_SECONDS: Final = Path("/run/latent-libvirt/lease-seconds")
_SETTLE_DEADLINE: Final = 50.0


def get_ready_to_be_saved() -> float:
    """Let what goes on in the machine come to its end; return what its clock says then.

    All that is not done now would be done again in each VM that is resumed.
    """
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "is-system-running", "--wait"], seconds=_SETTLE_DEADLINE)
    os.sync()
    return time.time()


def run(command: list[str], *, seconds: float) -> None:
    """Run a program of the image, and get over it if that fails: the console tells."""
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        sys.stderr.write(f"latent-libvirt launcher: {error}\n")


def part_from_siblings(*, asleep: float) -> None:
    """Give up what a VM shares with others that were resumed from the same state.

    :param asleep: seconds since it was saved.
    """
    renew_ssh_host_keys()
    if _RENEW_ADDRESS.exists() and has_network_card() and is_due(asleep):
        run([str(_RENEW_ADDRESS)], seconds=10)


def is_due(asleep: float, lease: Path = _LEASE_SECONDS) -> bool:
    """Tell whether the DHCP lease of the machine's address has to be renewed.

    That is so after half of its time (RFC 2131, 4.4.5), which has passed on no clock of this
    machine. Where nobody wrote down how long it is, it is.
    """
    try:
        return not 0 <= asleep < int(lease.read_text()) / 2
    except (OSError, ValueError):
        return True


def renew_machine_id(root: Path = Path("/")) -> None:
    """Give the machine an id of its own, wherever the old one is written down."""
    machine_id = f"{random_uuid()}\n"
    # systemd mounts the second over the first, where it may not write.
    for path in (
        root / "etc/machine-id",
        root / "run/machine-id",
        root / "var/lib/dbus/machine-id",
    ):
        if path.exists():
            with contextlib.suppress(OSError):
                path.write_text(machine_id)


def random_uuid() -> str:
    """Return a random UUID (RFC 9562, version 4) as 32 hexadecimal digits."""
    number = int.from_bytes(os.urandom(16), "big")
    number = number & ~(0xF << 76) | 4 << 76
    return f"{number & ~(3 << 62) | 2 << 62:032x}"


def renew_ssh_host_keys(directory: Path = Path("/etc/ssh")) -> None:
    """Replace the ssh host keys, if there are any: they were made before the machine was saved."""
    keys = list(directory.glob("ssh_host_*_key*"))
    for key in keys:
        key.unlink()
    if keys:
        run(["ssh-keygen", "-A"], seconds=30)
        run(["systemctl", "try-restart", "ssh.service", "sshd.service"], seconds=10)


# The network.


def has_default_route(table: Path = Path("/proc/net/route")) -> bool:
    """Tell whether the machine has an IPv4 default route."""
    rows = (line.split() for line in table.read_text().splitlines()[1:])
    return any(row[1] == "00000000" for row in rows)


def has_network_card(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Tell whether the machine has one, by its class on the PCI bus: the driver may come later."""
    return any(name.read_text().startswith("0x02") for name in devices.glob("*/class"))


def wait_for_master(
    host: str, port: int, certificate: bytes | None = None, deadline: float = MASTER_DEADLINE
) -> None:
    """Return once the master accepts connections.

    :param certificate: the master's, if its port speaks TLS.

    :raises LauncherError: it does not until the deadline; says what the last attempt ended with.
    """
    end = time.monotonic() + deadline
    while True:
        try:
            return connect(host, port, certificate)
        except OSError as error:  # noqa: PERF203
            if time.monotonic() > end:
                where = f"the master at {host} port {port}"
                raise LauncherError(f"cannot connect to {where}: {error}") from None
            time.sleep(POLL_INTERVAL)


def connect(host: str, port: int, certificate: bytes | None = None) -> None:
    """Connect to the master, and let go again.

    :raises OSError: why it is not possible.
    :raises LauncherError: what answers is not the master that has this certificate.
    """
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT) as plain:
        if certificate is None:
            return
        where = f"what answers at {host} port {port}"
        try:
            with tls().wrap_socket(plain, server_hostname=host) as secure:
                see_that_it_is(secure.getpeercert(binary_form=True), certificate, where)
        except ssl.SSLError as error:
            reason = error.reason or error
            raise LauncherError(
                f"{where} does not speak TLS as the master does: {reason}"
            ) from None


# A master whose port speaks TLS. Its certificate came with the identity, from the master itself: it
# has to be that one. Its names and its signer do not matter.


def tls() -> ssl.SSLContext:
    """Return what connects by TLS, and leaves it to :func:`see_that_it_is` to whom."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def see_that_it_is(found: bytes | None, wanted: bytes, where: str) -> None:
    """See that a certificate is the master's.

    :raises LauncherError: it is another one.
    """
    if found != wanted:
        raise LauncherError(
            f"{where} has another certificate ({fingerprint(found or b'')}) than the master's "
            f"({fingerprint(wanted)}): it is not the master, or the file was changed after the "
            "master began to listen (then restart the master)"
        )


def fingerprint(certificate: bytes) -> str:
    """Return what people compare certificates by, in short."""
    return f"SHA-256 {hashlib.sha256(certificate).hexdigest()[:16]}..."


def begin_tunnel(host: str, port: int, certificate: bytes) -> int:
    """Lead connections to a port of the loopback to the master, by TLS; return that port.

    The worker's Twisted has no TLS in an image: that takes packages which Python itself does not
    need. The tunnel is a process of its own, and ends with the VM.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        try:
            run_tunnel(listening, host, port, certificate)
        finally:
            os._exit(1)
    with listening:
        return int(listening.getsockname()[1])


def run_tunnel(listening: socket.socket, host: str, port: int, certificate: bytes) -> None:
    """Serve connections until this process is ended."""
    asyncio: Any = importlib.import_module("asyncio")

    async def copy(source: Any, sink: Any) -> None:
        while data := await source.read(MAX_LINE_BYTES):
            sink.write(data)
            await sink.drain()

    async def carry(near: Any, to_near: Any) -> None:
        far, to_far = await asyncio.open_connection(host, port, ssl=tls(), server_hostname=host)
        try:
            shown = to_far.get_extra_info("ssl_object").getpeercert(binary_form=True)
            see_that_it_is(shown, certificate, f"what answers at {host} port {port}")
            ways = [
                asyncio.ensure_future(copy(near, to_far)),
                asyncio.ensure_future(copy(far, to_near)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
        finally:
            to_far.close()

    async def serve(near: Any, to_near: Any) -> None:
        try:
            await carry(near, to_near)
        except (OSError, LauncherError) as error:
            sys.stderr.write(f"latent-libvirt launcher: {error}\n")
        finally:
            to_near.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, sock=listening)
        await server.serve_forever()

    asyncio.run(run())


# A worker whose connection goes through a channel of the VM, and not through its network.


def load(name: str) -> Any:
    """Return a module of :data:`LAUNCHER_FILES`: it stands beside this file, wherever that is."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def channel_version() -> int:
    """Return which version of the link this launcher speaks; 0 where an image lacks its files."""
    try:
        load("channel_proxy")
        return int(load("channel_link").VERSION)
    except OSError:
        return 0


def begin_proxy(
    port: int, session: str, *, kind: str = "Proxy", listening: socket.socket | None = None
) -> int:
    """Lead connections to a port of the loopback through the channel *port*; return the former.

    The proxy is a separate process, like the tunnel, and ends with the VM.

    :param port: the descriptor of the open virtio-serial port.
    :param kind: a class of ``channel_proxy``.
    """
    link, proxy = sys.modules["channel_link"], getattr(sys.modules["channel_proxy"], kind)
    listening = listening or socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        try:
            proxy(link.GuestLink(session), link, port, listening).run()
        finally:
            os._exit(1)
    os.close(port)
    with listening:
        return int(listening.getsockname()[1])


def begin_network(port: int, session: str) -> dict[str, str]:
    """Lead builds to the forward proxy through the channel *port*.

    Return the variables by which programs find the way.
    """
    try:
        listening = socket.create_server(("127.0.0.1", PROXY_PORT))
    except OSError:
        listening = None  # another program has that port
    number = begin_proxy(port, session, kind="NetworkProxy", listening=listening)
    address, local = f"http://127.0.0.1:{number}", "localhost,127.0.0.1,::1"
    found = {"http_proxy": address, "https_proxy": address, "no_proxy": local}
    return {**found, **{name.upper(): value for name, value in found.items()}}


# The worker.


def import_worker() -> types.ModuleType:
    """Import all that the worker will need, with the reactor, and return its module.

    ``buildbot_worker.pb`` also imports Buildbot's experimental websocket protocol, which is not
    spoken here and whose libraries take longer to import than all the rest: it gets a stand-in.
    """
    sys.path.insert(0, str(SITE))
    sys.modules.setdefault("buildbot_worker.msgpack", _StandIn("buildbot_worker.msgpack"))
    import buildbot_worker.pb  # noqa: PLC0415

    # Used for the first time when a command runs or a connection is made.
    import twisted.internet.process  # noqa: PLC0415
    import twisted.internet.threads  # noqa: F401, PLC0415

    return buildbot_worker.pb  # type: ignore[no-any-return]


class _StandIn(types.ModuleType):
    """A module in which every name is a class that does nothing."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def worker_version() -> str:
    """Return the version of buildbot-worker."""
    import buildbot_worker  # noqa: PLC0415

    return str(buildbot_worker.version)


def launcher_version() -> str:
    """Return what identifies the launcher's files: the first digits of their SHA-256."""
    files = (Path(__file__).with_name(name) for name in LAUNCHER_FILES)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def find_user(name: str) -> pwd.struct_passwd:
    """Return the user *name*.

    :raises LauncherError: there is none, or it has no home directory.
    """
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise LauncherError(f"this image has no user {name}") from None
    if not Path(user.pw_dir).is_dir():
        raise LauncherError(f"user {name} has no home directory {user.pw_dir}")
    return user


def become(user: pwd.struct_passwd) -> None:
    """Give up all privileges that *user* does not have, and what the init system told us."""
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.umask(0o022)
    os.chdir(user.pw_dir)
    os.environ.clear()
    os.environ.update(environment_of(user))


def environment_of(user: pwd.struct_passwd) -> dict[str, str]:
    """Return what builds find in their environment, unless Buildbot says otherwise."""
    return {
        "HOME": user.pw_dir,
        "LANG": "C.UTF-8",
        "LOGNAME": user.pw_name,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SHELL": user.pw_shell or "/bin/sh",
        "USER": user.pw_name,
    }


def run_worker(module: types.ModuleType, identity: Identity, button: PowerButton) -> bool:
    """Be the worker until the master lets it go, or cannot be reached, or the button is pressed.

    Returns whether it was the master that ended it, after the worker had been attached.
    """
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    basedir = Path.cwd() / "worker"
    basedir.mkdir(exist_ok=True)
    watch = begin_logging(basedir / "twistd.log")
    worker = module.Worker(
        identity.master_host,
        identity.master_port,
        identity.name,
        identity.password,
        str(basedir),
        keepalive=0,
        maxRetries=LOGIN_ATTEMPTS,
    )
    readers = [_ButtonReader(descriptor, reactor.stop) for descriptor in button.filenos()]
    for reader in readers:
        reactor.addReader(reader)
    worker.startService()
    reactor.addSystemEventTrigger("before", "shutdown", worker.stopService)
    reactor.run()
    return watch.attached and not any(reader.pressed for reader in readers)


class _ButtonReader:
    """What Twisted's reactor wants of something that it reads from."""

    def __init__(self, descriptor: int, stop: Callable[[], None]) -> None:
        self.pressed = False
        self._descriptor = descriptor
        self._stop = stop

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:  # noqa: N802
        return "power button"

    def doRead(self) -> None:  # noqa: N802
        if PowerButton.is_pressed(self._descriptor):
            self.pressed = True
            self._stop()

    def connectionLost(self, _reason: object) -> None:
        """Nothing depends on it."""


def begin_logging(path: Path) -> _UntilAttached:
    """Let the worker log to *path*; and to the console too, until it is attached.

    What a worker says later can be much, and a serial console is slow.
    """
    logger: Any = importlib.import_module("twisted.logger")
    log = logger.textFileLogObserver(path.open("a"))
    console = logger.textFileLogObserver(sys.stderr)
    watch = _UntilAttached(logger)
    until_attached = logger.FilteringLogObserver(console, [watch])
    logger.globalLogBeginner.beginLoggingTo([log, until_attached], redirectStandardIO=False)
    return watch


class _UntilAttached:
    """Lets events pass until one says that the worker is attached."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self.attached = False

    def __call__(self, event: dict[str, Any]) -> Any:
        if self.attached and event.get("log_level") != self._logger.LogLevel.critical:
            return self._logger.PredicateResult.no
        self.attached |= "Connected to buildmaster" in self._logger.formatEvent(event)
        return self._logger.PredicateResult.maybe


# Rehearsal: a VM that waits has the time to do once what becoming a worker takes.

_REHEARSAL_SECONDS: Final = 60


class Rehearsal:
    """Becoming a worker, of a master in this machine, in a process of its own that ends then.

    An emulated processor runs code slowly the first time: QEMU has to translate it, again in each
    VM that was resumed. So what an identity will take is done before it comes. Nothing remains of
    it.

    :param module: see :func:`import_worker`.
    """

    def __init__(self, module: types.ModuleType, stages: Path = Path("/run")) -> None:
        self._stage = tempfile.mkdtemp(prefix="latent-libvirt-rehearsal-", dir=stages)
        self._actor = os.fork()
        if self._actor == 0:
            try:
                rehearse(module, Path(self._stage))
            finally:
                os._exit(1)

    def end(self) -> None:
        """Let nothing remain of it, however far it has come."""
        os.kill(self._actor, signal.SIGKILL)
        os.waitpid(self._actor, 0)
        shutil.rmtree(self._stage, ignore_errors=True)

    def wait(self) -> bool:
        """Wait for its end; return whether all went as it should."""
        ended = os.waitid(os.P_PID, self._actor, os.WEXITED | os.WNOWAIT)
        return ended is not None and ended.si_status == 0


def rehearse(module: types.ModuleType, stage: Path) -> None:
    """Be a worker in the directory *stage*, as :func:`launch` would; end the process after that.

    The console hears no more of it than that it is over.
    """
    signal.alarm(_REHEARSAL_SECONDS)
    console = os.dup(sys.stderr.fileno())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(nowhere, descriptor)
    os.chdir(stage)

    def over() -> NoReturn:
        os.write(console, b"latent-libvirt launcher: has rehearsed\n")
        os._exit(0)

    port = play_master(over)
    identity = parse_identity(parse_message(identity_for_rehearsal(port)))
    find_user(identity.user)
    if os.geteuid() == 0:
        add_entropy(identity.entropy)
    wait_for_master(identity.master_host, identity.master_port)
    run_worker(module, identity, PowerButton(inputs=stage))


def identity_for_rehearsal(port: int) -> bytes:
    """Return a line with an identity that leads nowhere but to this machine."""
    message = {
        "protocol": PROTOCOL,
        "type": "identity",
        "name": "rehearsal",
        "password": "rehearsal",
        "master": {"host": "127.0.0.1", "port": port},
        "time": time.time(),
        "hostname": "rehearsal",
        "entropy": base64.b64encode(os.urandom(64)).decode(),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
    }
    return json.dumps(message).encode()


def play_master(over: Callable[[], object]) -> int:
    """Listen for a worker called ``rehearsal``, and ask of it what a master does; return the port.

    :param over: called when it has done all that.
    """
    checkers: Any = importlib.import_module("twisted.cred.checkers")
    portal: Any = importlib.import_module("twisted.cred.portal")
    pb: Any = importlib.import_module("twisted.spread.pb")
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    defer: Any = importlib.import_module("twisted.internet.defer")

    class Work(pb.Referenceable):  # type: ignore[misc]
        def __init__(self) -> None:
            self.done = defer.Deferred()

        def remote_update(self, _updates: object) -> None:
            """Nobody reads what the command says."""

        def remote_complete(self, _failure: object = None) -> None:
            self.done.callback(None)

    async def direct(worker: Any) -> None:
        await worker.callRemote("print", message="rehearsal")
        await worker.callRemote("getWorkerInfo")
        builders = await worker.callRemote("setBuilderList", [("rehearsal", "rehearsal")])
        await builders["rehearsal"].callRemote("startBuild")
        work, command = Work(), {"command": ["true"], "workdir": "."}
        await builders["rehearsal"].callRemote("startCommand", work, "1", "shell", command)
        await work.done
        over()

    class Realm:
        def requestAvatar(self, _name: object, worker: Any, *_: object) -> Any:  # noqa: N802
            reactor.callLater(0, lambda: defer.ensureDeferred(direct(worker)))
            return pb.IPerspective, pb.Avatar(), lambda: None

    doors = checkers.InMemoryUsernamePasswordDatabaseDontUse(rehearsal=b"rehearsal")
    factory = pb.PBServerFactory(portal.Portal(Realm(), [doors]))
    return int(reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port)


# The conversation.


class ButtonPressed(Exception):  # noqa: N818
    """Somebody wants the VM to shut down before it was anything."""


def await_identity(
    channel: Channel,
    button: PowerButton,
    waiting: Callable[[], None],
    begin_rehearsal: Callable[[], Rehearsal],
) -> Identity:
    """Say that this VM waits, whenever asked; return the identity that it gets.

    :raises ButtonPressed: it is to shut down instead.
    :raises LauncherError: what came was no identity.
    """
    poll = select.poll()
    for descriptor in (channel.fileno(), *button.filenos()):
        poll.register(descriptor, select.POLLIN)
    waiting()
    with contextlib.ExitStack() as rehearsals:
        saved = None
        while True:
            ready = [descriptor for descriptor, _event in poll.poll()]
            if any(PowerButton.is_pressed(d) for d in ready if d != channel.fileno()):
                raise ButtonPressed
            for message in channel.receive() if channel.fileno() in ready else ():
                type_ = message.get("type")
                if type_ == "identity":
                    return replace(parse_identity(message), saved=saved)
                if type_ == "rehearse":
                    rehearsals.close()
                    rehearsals.callback(begin_rehearsal().end)
                elif type_ == "save":
                    rehearsals.close()
                    saved = get_ready_to_be_saved()
                    channel.send("saveable")
                else:
                    waiting()


def launch(channel: Channel) -> None:
    """Do everything from the first ``waiting`` to the worker's end."""
    module = import_worker()
    button = PowerButton()
    poll_for(lambda: has_default_route() or not has_network_card(), NETWORK_PATIENCE)
    about: dict[str, str | int] = {"launcher": launcher_version(), "worker": worker_version()}
    about["channel"] = about["proxy"] = channel_version()
    identity = await_identity(
        channel,
        button,
        lambda: channel.send("waiting", saves=True, rehearses=True, tls=True, **about),
        lambda: Rehearsal(module),
    )
    user = find_user(identity.user)
    apply(identity)
    worker_port = -1
    if identity.channel is None:
        wait_for_master(identity.master_host, identity.master_port, identity.certificate)
    else:
        worker_port = open_port(WORKER_PORT_NAME)
    network_port = -1 if identity.network is None else open_port(NETWORK_PORT_NAME)
    channel.send("starting")
    channel.close()
    become(user)
    if identity.network is not None:
        os.environ.update(begin_network(network_port, identity.network))
    if identity.channel is not None:
        identity = replace(identity, master_port=begin_proxy(worker_port, identity.channel))
    if identity.certificate is not None:
        port = begin_tunnel(identity.master_host, identity.master_port, identity.certificate)
        identity = replace(identity, master_host="127.0.0.1", master_port=port)
    if run_worker(module, identity, button):
        linger(button)


def linger(button: PowerButton) -> None:
    """Leave the VM as it is, for who holds it, until its power button is pressed."""
    poll = select.poll()
    for descriptor in button.filenos():
        poll.register(descriptor, select.POLLIN)
    while not any(PowerButton.is_pressed(descriptor) for descriptor, _event in poll.poll()):
        pass


def main() -> int:
    """Run as the init system's service; return the exit status."""
    channel = None
    try:
        channel = Channel(open_port())
        launch(channel)
    except ButtonPressed:
        return 0
    except Exception as error:  # noqa: BLE001 (whatever it is, the pool must hear of it)
        report(error, channel)
        return 1
    return 0


def report(error: Exception, channel: Channel | None) -> None:
    """Tell the console and, if it still listens, the pool what went wrong."""
    reason = str(error) if isinstance(error, LauncherError) else f"{type(error).__name__}: {error}"
    sys.stderr.write(f"latent-libvirt launcher: {reason}\n")
    if channel is not None and channel.is_open:
        channel.send("failed", reason=reason)


if __name__ == "__main__":
    sys.exit(main())
