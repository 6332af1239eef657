# SPDX-License-Identifier: GPL-2.0-only
"""Answers of a host, read with care: XML that may be broken, and names that are no text.

libvirt-python decodes every name strictly as UTF-8, when it is asked for; a file may be called
anything. Nothing of ours has such a name, so what has one is passed over, and hides nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from lxml import etree

from latent_libvirt.errors import HostError

_SHOWN = 80


class _Named(Protocol):
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def name_of(thing: _Named) -> str | None:
    """Return what libvirt calls *thing*; ``None`` if that is no text."""
    try:
        return str(thing.name())
    except UnicodeDecodeError:
        return None


def named(things: Iterable[N]) -> Iterator[tuple[str, N]]:
    """Yield those of *things* whose names are text, each with its name."""
    for thing in things:
        name = name_of(thing)
        if name is not None:
            yield name, thing


def printable(text: str) -> str:
    """Return what of *text*, which may be anybody's, can be shown on a terminal, and not too much.

    A name may be long, and may have escape sequences in it.
    """
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])


def listed(things: Iterable[_Named]) -> str:
    """Return the names of *things* in a sentence; ``none`` if there are none."""
    return ", ".join(sorted(printable(name) for name, _ in named(things))) or "none"


def parsed(xml: str, what: str) -> etree._Element:
    """Return the root of *xml*, which a host has sent.

    :param what: whose XML it is, for the error.
    :raises HostError: if it cannot be parsed.
    """
    try:
        # A new parser each time: they are not made for several threads.
        return etree.fromstring(xml, etree.XMLParser(resolve_entities=False, no_network=True))
    except (etree.LxmlError, ValueError, TypeError) as error:
        raise HostError(
            f"the XML of {what} cannot be read",
            details=f"{error}; it begins with {str(xml)[:_SHOWN]!r}",
            resolution="See what 'virsh' shows of it, and mend or remove it.",
        ) from error
