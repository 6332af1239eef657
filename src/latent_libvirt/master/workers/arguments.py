# SPDX-License-Identifier: GPL-2.0-only
"""Arguments of a worker in ``master.cfg``, looked at before Buildbot takes them.

Python's own words for a wrong call are a traceback, and an argument without effect says nothing.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from buildbot.config.errors import ConfigErrors
from buildbot.interfaces import IRenderable
from buildbot.locks import BaseLockId, LockAccess
from buildbot.util.service import BuildbotService
from buildbot.worker.base import AbstractWorker
from buildbot.worker.latent import AbstractLatentWorker

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.fields.names import LONGEST_WORKER_NAME

_EXAMPLE: Final = 'LibvirtLatentWorker("debian-12-1", label="debian-12")'

_INSTEAD: Final = {
    "password": "leave it out: each VM gets a new one, for one connection",
    "build_wait_timeout": "write idle_timeout in its label",
}

_MAX_BUILDS: Final = (
    "leave it out: a VM serves one build at a time, and max_builds_per_vm of its label says how "
    "many one after the other"
)


def _taken() -> frozenset[str]:
    """Return the names of all arguments that Buildbot's workers take, and ours."""
    checks = (AbstractWorker.checkConfig, AbstractLatentWorker.checkConfig)
    names = {name for check in checks for name in inspect.signature(check).parameters}
    return frozenset(names - {"self", "kwargs"} | {"label", "pool"})


_TAKEN: Final = _taken()


def checked(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name, and the keyword arguments, that a worker is made with.

    :raises ConfigErrors: with all that is wrong, and what to write instead.
    """
    given = dict(kwargs)
    names = [*args[:1], *([given.pop("name")] if "name" in given else [])]
    worker = f"worker {names[0]!r}" if names and isinstance(names[0], str) else "a worker"
    wrong = [*_wrong_name(names), *_wrong_others(worker, args[1:]), *_wrong(worker, given)]
    if wrong:
        raise ConfigErrors(wrong)
    return names[0], given


def _wrong_name(names: list[Any]) -> Iterator[str]:
    if not names:
        yield f"a worker has no name; write, for example: {_EXAMPLE}"
    elif len(names) > 1:
        yield f"worker {names[0]!r} has two names"
    elif not isinstance(names[0], str) or not names[0].strip():
        yield f"a worker's name is {_shown(names[0])}, and has to be a text: {_EXAMPLE}"
    elif not names[0].isprintable():
        yield f"a worker's name is {_shown(names[0])}, and has characters that cannot be printed"
    elif len(names[0]) > LONGEST_WORKER_NAME:
        shown = names[0][:LONGEST_WORKER_NAME]
        yield f"worker {shown}... has a name that is too long: Buildbot takes {LONGEST_WORKER_NAME}"


def _wrong_others(worker: str, others: tuple[Any, ...]) -> Iterator[str]:
    """Yield what is wrong with arguments after the name; they may be secret, and are not shown."""
    if others:
        yield (
            f"{worker} takes one argument without a keyword, its name, and there are "
            f"{len(others) + 1}. It has no password, and its label is written as label=...: "
            f"{_EXAMPLE}"
        )


def _wrong(worker: str, given: Mapping[str, Any]) -> Iterator[str]:
    instead = dict(_INSTEAD)
    if given.get("max_builds", 1) not in (None, 1):
        instead["max_builds"] = _MAX_BUILDS
    for key, what in instead.items():
        if key in given:
            yield f"{worker} takes no {key}: {what}"
    yield from _unknown(worker, given)
    yield from _wrong_label(worker, given)
    for key, (fits, wanted) in _KINDS.items():
        if given.get(key) is not None and not fits(given[key]):
            yield f"{worker}: {key} is {_shown(given[key])}, and has to be {wanted}"
    pool = given.get("pool", "")
    if not isinstance(pool, str | BuildbotService):
        yield f"{worker}: pool is {_shown(pool)}, and has to be the pool or its name"


def _unknown(worker: str, given: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted(given.keys() - _TAKEN):
        near = nearest(key, _TAKEN - {"password", "name"})
        guess = f"; did you mean {near!r}?" if near else ""
        yield f"{worker} takes no argument {key!r}{guess}"


def _wrong_label(worker: str, given: Mapping[str, Any]) -> Iterator[str]:
    if "label" not in given:
        yield f"{worker} has no label; write, for example: {_EXAMPLE}"
        return
    label = given["label"]
    is_text = isinstance(label, str) and label
    if not is_text and (not IRenderable.providedBy(label) or isinstance(label, list | tuple)):
        yield (
            f"{worker}: label is {_shown(label)}, and has to be the name of a label, or a "
            'renderable such as util.Property("label")'
        )


def _is_properties(value: Any) -> bool:
    """Whether Buildbot can take it for properties, which it keeps as JSON."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return False
    try:
        json.dumps([v for v in value.values() if not IRenderable.providedBy(v)], allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _is_time(value: Any) -> bool:
    """Whether it is a number of seconds, and not an endless one."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value <= _LONGEST_TIME


def _are_locks(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(each, LockAccess | BaseLockId) for each in value)
    return bool(IRenderable.providedBy(value))


def _are_addresses(value: Any) -> bool:
    addresses = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(address, str) and address.strip() for address in addresses)


_LONGEST_TIME: Final = 10 * 365 * 86400.0  # seconds
_SECONDS: Final = "a number of seconds, like 3600"
_PROPERTIES: Final = "a dictionary of names, and of values that JSON has, like {'arch': 'x86'}"

_KINDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "properties": (_is_properties, _PROPERTIES),
    "defaultProperties": (_is_properties, _PROPERTIES),
    "locks": (_are_locks, "a list like [lock.access('counting')]"),
    "notify_on_missing": (_are_addresses, "an e-mail address, or a list of them"),
    "missing_timeout": (_is_time, _SECONDS),
    "keepalive_interval": (_is_time, _SECONDS),
    "check_instance_interval": (_is_time, _SECONDS),
    "machine_name": (lambda name: isinstance(name, str), "the name of a machine"),
}
"""What each argument of Buildbot's has to be, unless it is ``None``, and that in words."""


def _shown(value: object) -> str:
    """Return *value* as it is written, as far as it is short, and what it is."""
    text = repr(value)
    return f"{text if len(text) < 40 else type(value).__name__}"  # noqa: PLR2004
