# SPDX-License-Identifier: GPL-2.0-only
"""A machine of its own for a master: a network namespace, and cables to services to be pulled out.

What is cut here is a network: packets are lost and nobody is told, TCP goes on trying, and what
comes later is what the kernels make of it. No privilege is needed and the machine's own network is
not touched: all is in a user namespace of its own.
"""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import children
from latent_libvirt.images.programs import program
from relay import Relay

PORT = 7000
"""Where each service is found, at the address of its cable."""

LONG_CABLE = Path(__file__).with_name("long_cable.py")

_HOLD = ("sh", "-c", "echo ready; exec cat")  # until its input is closed


@dataclass(frozen=True)
class Distance:
    """What happens to packets on the way.

    :param round_trip: seconds there and back.
    :param loss: the share of packets that get lost, each way.
    """

    round_trip: float
    loss: float = 0.01


@dataclass(frozen=True)
class Machine:
    """A machine that reaches services by cables, and nothing else.

    :param enter: what to put before a command so that it runs on the machine.
    :param far: the same for the side where the services are.
    :param addresses: the host and port of each service, by its name.
    """

    enter: tuple[str, ...]
    far: tuple[str, ...]
    addresses: Mapping[str, str]

    def pull(self, *services: str) -> None:
        """Pull out the cables to *services*."""
        self._set(services, "down")

    def plug(self, *services: str) -> None:
        """Plug them in again."""
        self._set(services, "up")

    def _set(self, services: tuple[str, ...], state: str) -> None:
        for service in services:
            _ip(self.far, "link", "set", "dev", service, state)


@contextmanager
def machine(services: Mapping[str, str], *, distance: Distance | None = None) -> Iterator[Machine]:
    """Give a machine.

    :param services: the Unix sockets that cables lead to, by names of at most 15 characters.
    :param distance: of the services.
    """
    with ExitStack() as stack:
        far_pid = stack.enter_context(_held("unshare", "--user", "--map-root-user", "--net"))
        far = _into(far_pid)
        near_pid = stack.enter_context(_held(*far, "unshare", "--net"))
        near = _into(near_pid)
        _ip(near, "link", "set", "dev", "lo", "up")
        addresses = {}
        for service, far_end, near_end in zip(services, *_hosts(), strict=False):
            if distance is None:
                _lay(service, far, near, peer=near_pid)
            else:
                stack.enter_context(_laid_far(service, far, near, distance))
            for side, end in ((far, far_end), (near, near_end)):
                _ip(side, "address", "add", f"{end}/30", "dev", service)
                _ip(side, "link", "set", "dev", service, "up")
            addresses[service] = f"{far_end}:{PORT}"
            relay = Relay(addresses[service], services[service], enter=far)
            stack.callback(relay.stop)
        yield Machine(near, far, addresses)


def _hosts() -> tuple[Iterator[str], Iterator[str]]:
    """Return the addresses of both ends of one cable after another (RFC 5737)."""
    numbers = (itertools.count(first, 4) for first in (1, 2))
    far, near = (map("198.51.100.{}".format, each) for each in numbers)
    return far, near


def _lay(service: str, far: tuple[str, ...], near: tuple[str, ...], *, peer: int) -> None:
    ends = ("name", service, "type", "veth", "peer", "name", service, "netns", str(peer))
    _ip(far, "link", "add", *ends)


@contextmanager
def _laid_far(
    service: str, far: tuple[str, ...], near: tuple[str, ...], distance: Distance
) -> Iterator[None]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    options = (str(distance.round_trip / 2), str(distance.loss))
    with ExitStack() as stack:
        for seed, (side, end) in enumerate(zip((far, near), ends, strict=True)):
            program = (sys.executable, "-I", "-S", str(LONG_CABLE), service, str(end.fileno()))
            command = [*side, *children.WITH_US, *program, *options, str(seed)]
            stack.enter_context(_running(command, end))
        yield


@contextmanager
def _running(command: list[str], end: socket.socket) -> Iterator[None]:
    process = children.begun(
        lambda: subprocess.Popen(
            command, pass_fds=[end.fileno()], stdout=subprocess.PIPE, text=True
        )
    )
    end.close()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


@contextmanager
def _held(*namespaces: str) -> Iterator[int]:
    """Make namespaces; give the id of a process in them."""
    with subprocess.Popen(
        [*namespaces, *_HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        yield holder.pid


def _into(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--target={pid}", "--user", "--net", "--preserve-credentials")


def _ip(where: tuple[str, ...], *arguments: str) -> None:
    subprocess.run([*where, program("ip", package="iproute2"), *arguments], check=True)
