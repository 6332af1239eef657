# SPDX-License-Identifier: GPL-2.0-only
"""A build request and its properties that note what is read of them.

Renderers and functions of a ``master.cfg`` decide whether a request may start. Where they have read
nothing but some properties, they would decide the same for each request in which those properties
have the same values, and need not be asked about it (``refusals.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from buildbot.process.buildrequest import BuildRequest
from buildbot.process.properties import Properties

_SAME_FOR_ALL: Final = frozenset({"master", "buildername", "builderid", "properties"})
"""What all requests of one builder share, and what notes for itself what is read of it."""


class Reads:
    """Notes what was read: some properties, by name, or anything else."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.more = False
        """Whether anything was read by which each request may differ from all others."""


class _Values(dict[str, Any]):
    """The values of properties by name, as Buildbot keeps them."""

    reads: Reads | None = None

    def _note(self, name: object = None) -> None:
        if self.reads is None:
            return
        if isinstance(name, str):
            self.reads.names.add(name)
        else:
            self.reads.more = True

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._note(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._note()
        return super().__iter__()

    def __len__(self) -> int:
        self._note()
        return super().__len__()

    def keys(self) -> Any:
        self._note()
        return super().keys()

    def values(self) -> Any:
        self._note()
        return super().values()

    def items(self) -> Any:
        self._note()
        return super().items()

    def copy(self) -> dict[str, Any]:
        self._note()
        return super().copy()


class WatchedProperties(Properties):  # type: ignore[misc]
    """Properties that note what is read of them, once :meth:`watch` was called."""

    def __init__(self) -> None:
        super().__init__()
        self.properties: _Values = _Values()

    def watch(self, reads: Reads) -> None:
        """Note in *reads* what is read from now on."""
        self.properties.reads = reads


class WatchedRequest(BuildRequest):  # type: ignore[misc]
    """A request for functions of a ``master.cfg``, which notes in *reads* what is read of it.

    :param request: the real one; whatever else is done with a request is done with that.
    """

    def __init__(self, request: Any, reads: Reads) -> None:
        self.__dict__.update(vars(request))
        if isinstance(known := vars(request).get("properties"), Properties):
            watched = WatchedProperties()
            watched.updateFromProperties(known)
            watched.watch(reads)
            self.properties = watched
        details = frozenset(vars(request)) - _SAME_FOR_ALL
        self._watched = request, reads, details

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        known = object.__getattribute__(self, "__dict__")
        if name != "_watched" and "_watched" in known:
            _request, reads, details = known["_watched"]
            reads.more = reads.more or name == "__dict__" or name in details
        return found


def unwatched(request: Any) -> Any:
    """Return the real request."""
    if isinstance(request, WatchedRequest):
        return object.__getattribute__(request, "_watched")[0]
    return request
