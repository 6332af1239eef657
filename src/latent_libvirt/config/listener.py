# SPDX-License-Identifier: GPL-2.0-only
"""The port for workers, as a ``master.cfg`` has it: read, and never executed.

Who examines hosts has no master. What the file computes, instead of writing it down, is not known
here.
"""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST_BYTES = 1_000_000
USER_NETWORK_HOST = "10.0.2.2"
_LOOPBACK = "127.0.0.1"
_ANY = ("", "0.0.0.0", "::")  # noqa: S104 - what stands there is compared, not listened on


@dataclass(frozen=True)
class Listener:
    """The address at which a master listens for workers.

    :param endpoint: as it stands in the file.
    :param line: its number, from 1.
    """

    file: str
    line: int
    endpoint: str

    @property
    def interface(self) -> str:
        """The address of the master that it listens at; empty for all of them."""
        for part in re.split(r"(?<!\\):", self.endpoint)[1:]:
            key, equals, value = part.partition("=")
            if equals and key == "interface":
                return _LOOPBACK if value == "localhost" else value.replace("\\:", ":")
        return ""

    @property
    def port(self) -> int | None:
        """The number of its port, if the endpoint has one."""
        for part in re.split(r"(?<!\\):", self.endpoint):
            number = part.removeprefix("port=")
            if number.isdecimal() and len(number) < 6:  # noqa: PLR2004
                return int(number)
        return None

    def is_reached_at(self, address: str) -> bool:
        """Return whether guests that look for the master at *address* may get there.

        Names are not looked up: they may mean anything but the loopback.
        """
        interface = _ip(self.interface)
        if self.interface in _ANY or interface is None:
            return True
        # QEMU leads its name for the host to the loopback, and all else to where it says.
        target = _ip(_LOOPBACK if address == USER_NETWORK_HOST else address)
        return not interface.is_loopback if target is None else target == interface

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def find(file: Path) -> Listener | None:
    """Return where the master of *file* listens; ``None`` if the file does not say it plainly."""
    try:
        with file.open("rb") as stream:
            tree = ast.parse(stream.read(MOST_BYTES))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    found = [listener for node in ast.walk(tree) for listener in _in(node, file.name)]
    return max(found, key=lambda listener: listener.line, default=None)


def _in(node: ast.AST, file: str) -> Iterator[Listener]:
    if not isinstance(node, ast.Assign):
        return
    for target in node.targets:
        keys = tuple(_keys(target))
        if keys[:1] == ("protocols",) and keys == _PORT[: len(keys)]:
            endpoint = _port_of(node.value, _PORT[len(keys) :])
            if endpoint is not None:
                yield Listener(file, node.lineno, endpoint)


_PORT = ("protocols", "pb", "port")


def _keys(target: ast.expr) -> list[object]:
    """Return the keys of ``c["a"]["b"]``, from the outside in."""
    keys: list[object] = []
    while isinstance(target, ast.Subscript):
        keys.insert(0, target.slice.value if isinstance(target.slice, ast.Constant) else None)
        target = target.value
    return keys


def _port_of(value: ast.expr, keys: tuple[str, ...]) -> str | None:
    try:
        found: Any = ast.literal_eval(value)
        for key in keys:
            found = found[key]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError):
        return None
    return str(found) if isinstance(found, str | int) else None
