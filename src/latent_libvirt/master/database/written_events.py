# SPDX-License-Identifier: GPL-2.0-only
"""Events of builds, steps and logs, made from what was written rather than read again.

Buildbot 4.3 reads a row from the database after each change of it, to announce the change. A build
and its steps are changed by one master only, the one that runs the build. So here a row is read
when it is new and when it has ended, and is remembered in between.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from buildbot.data.builds import Build
from buildbot.data.logs import Log
from buildbot.data.steps import Step
from buildbot.db.builds import BuildsConnectorComponent
from buildbot.db.logs import LogsConnectorComponent
from buildbot.db.steps import StepsConnectorComponent
from buildbot.util import epoch2datetime
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from latent_libvirt.upstream import relied_on

Row = dict[str, Any]
"""What the data API has of a build, a step or a log."""

Change = Callable[[Mapping[str, Any], Any], Row | None]
"""Returns what changes of a row, from a call's arguments and its result; ``None`` if unknown."""

REMEMBERED: Final = 4096
"""Rows of each kind: more than change at once."""


class Kind(NamedTuple):
    """A kind of rows.

    :ivar key: the parameter of the connector's functions that has a row's id.
    :ivar changes: the functions of the connector that change a row.
    :ivar others: its other functions, which change no row that is remembered.
    """

    resource: type
    connector: type
    key: str
    changes: Mapping[str, Change]
    others: frozenset[str]


def unknown_change(_given: Mapping[str, Any], _result: Any) -> None:
    """Let the row be read again."""


def _started(given: Mapping[str, Any], _result: Any) -> Row:
    began = epoch2datetime(given["started_at"])
    locked = {"locks_acquired_at": began} if given["locks_acquired"] else {}
    return {"started_at": began, **locked}


def _has_locks(given: Mapping[str, Any], _result: Any) -> Row:
    return {"locks_acquired_at": epoch2datetime(given["locks_acquired_at"])}


def _state(given: Mapping[str, Any], _result: Any) -> Row:
    return {"state_string": given["state_string"]}


def _appended(_given: Mapping[str, Any], lines: tuple[int, int] | None) -> Row:
    return {} if lines is None else {"num_lines": lines[1] + 1}


KINDS: Final = (
    Kind(
        Build,
        BuildsConnectorComponent,
        "buildid",
        {
            "setBuildStateString": _state,
            "finishBuild": unknown_change,
            "add_build_locks_duration": unknown_change,
        },
        frozenset(
            {
                *("addBuild", "getBuild", "getBuildByNumber", "getBuildProperties", "getBuilds"),
                *("getBuildsForChange", "getPrevSuccessfulBuild", "get_triggered_builds"),
                "setBuildProperty",
            }
        ),
    ),
    Kind(
        Step,
        StepsConnectorComponent,
        "stepid",
        {
            "startStep": _started,
            "set_step_locks_acquired_at": _has_locks,
            "setStepStateString": _state,
            "addURL": unknown_change,
            "finishStep": unknown_change,
        },
        frozenset({"addStep", "getStep", "getSteps"}),
    ),
    Kind(
        Log,
        LogsConnectorComponent,
        "logid",
        {"appendLog": _appended, "finishLog": unknown_change},
        frozenset(
            {
                *("addLog", "compressLog", "deleteOldLogChunks", "getLog", "getLogBySlug"),
                *("getLogLines", "getLogs", "iter_log_lines", "startService", "stopService"),
            }
        ),
    ),
)
"""The functions of Buildbot 4.3. Those of other versions may change rows in an unknown way."""


class Memory:
    """What one master knows of rows of a kind."""

    def __init__(self) -> None:
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._reads: dict[int, object] = {}
        """The last read of a row that is under way, unless the row has changed since it began."""

    def get(self, row: int) -> Row | None:
        """Return a row that is remembered; the caller may not change it."""
        return self._rows.get(row)

    def begin_read(self, row: int) -> object:
        """Return what stands for a read that begins now."""
        self._reads[row] = read = object()
        return read

    def end_read(self, row: int, read: object, found: Row | None) -> None:
        """Remember what a read has found, unless a change came in between, or none will come."""
        if self._reads.get(row) is not read:
            return
        del self._reads[row]
        if found is not None and not found.get("complete"):
            self._rows[row] = found
            if len(self._rows) > REMEMBERED:
                self._rows.popitem(last=False)

    def change(self, row: int, changes: Row | None) -> None:
        """Note that a row was changed; forget it if nobody knows how."""
        self._reads.pop(row, None)
        known = self._rows.pop(row, None)
        if known is not None and changes is not None:
            self._rows[row] = {**known, **changes}


_memories: WeakKeyDictionary[Any, dict[type, Memory]] = WeakKeyDictionary()
"""By master."""

_noted_connectors: Final[set[type]] = set()
"""Those whose functions are wrapped."""


def memory_of(master: Any, kind: Kind) -> Memory:
    """Return what *master* knows of rows of that kind."""
    return _memories.setdefault(master, {}).setdefault(kind.resource, Memory())


def install() -> None:
    """Make the events of this process like that, as far as Buildbot has the functions of 4.3."""
    for kind in KINDS:
        if relied_on.are_there(
            [(kind.resource, "generateEvent")],
            does="announces changes",
            otherwise="each change is read again",
        ) and note_writes(kind):
            _wrap(kind)


def note_writes(kind: Kind) -> bool:
    """Remember what is written of rows of that kind; return whether all that writes is known."""
    known = relied_on.are_there(
        [(kind.connector, name) for name in (*kind.changes, *kind.others)],
        does="writes changes",
        otherwise="each change is read again",
    )
    if not known or unknown(kind):
        return False
    if kind.connector not in _noted_connectors:
        _noted_connectors.add(kind.connector)
        for name, change in kind.changes.items():
            setattr(kind.connector, name, _noted(kind, getattr(kind.connector, name), change))
    return True


def unknown(kind: Kind) -> set[str]:
    """Return the functions of a connector that Buildbot 4.3 does not have."""
    public = {
        name
        for name, value in vars(kind.connector).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }
    return public - kind.changes.keys() - kind.others


def _wrap(kind: Kind) -> None:
    if hasattr(kind.resource, "_latent_libvirt"):
        return
    kind.resource._latent_libvirt = True  # type: ignore[attr-defined] # noqa: SLF001 - ours

    async def generate(resource: Any, row: int, event: str) -> None:
        resource.produceEvent(await _row(resource, kind, int(row)), event)

    @wraps(kind.resource.generateEvent)  # type: ignore[attr-defined]
    def generate_event(self: Any, row: int, event: str) -> Deferred[None]:
        return Deferred.fromCoroutine(generate(self, row, event))

    kind.resource.generateEvent = generate_event  # type: ignore[attr-defined]


async def _row(resource: Any, kind: Kind, row: int) -> Row | None:
    memory = memory_of(resource.master, kind)
    found = memory.get(row)
    if found is None:
        read = memory.begin_read(row)
        try:
            found = await resource.master.data.get((resource.plural, str(row)))
        finally:
            memory.end_read(row, read, found)
    return found


def _noted(kind: Kind, original: Callable[..., Any], change: Change) -> Callable[..., Any]:
    """Return *original*, which writes a row, and remembers what it has written."""
    signature = inspect.signature(original)

    @wraps(original)
    def write(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given, memory = bound.arguments, memory_of(self.master, kind)

        def written(result: Any) -> Any:
            failed = isinstance(result, Failure)
            memory.change(given[kind.key], None if failed else change(given, result))
            return result

        return original(self, *args, **kwargs).addBoth(written)

    return write
