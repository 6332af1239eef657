# SPDX-License-Identifier: GPL-2.0-only
"""Messages of the control socket: a line of JSON for a request, and one for its answer.

::

    {"protocol": 1, "request": {"command": "sweep", "dry_run": true}}
    {"protocol": 1, "result": [{"host": "alpha", "leftovers": ["overlay ..."], "trouble": ""}]}
    {"protocol": 1, "error": {"brief": "...", "details": null, "resolution": null}}

One connection may carry any number of them, one after the other. After the answer to a
``console`` request there are no more: what the client sends from then on is typed into the console,
what the master sends are the frames of ``frames.py``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from latent_libvirt.errors import LatentLibvirtError

PROTOCOL = 1

MAX_REQUEST = 4096
"""Bytes of a request, with its line's end."""

LONGEST_HOLD = 30 * 24 * 3600.0
"""Seconds that a VM may be held for."""

LONGEST_USER = 100
"""Characters of what a user is called."""

NEWEST = 2.0**40
"""Seconds since the epoch that any database can compare with."""

T = TypeVar("T")


class ControlError(LatentLibvirtError):
    """A running master could not be asked, or refused."""


class _Strict:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class StatusRequest(_Strict):
    """Asks what hosts, labels and VMs there are; answered with a ``PoolStatus``."""

    command: Literal["status"] = "status"


@dataclass(frozen=True)
class DrainRequest(_Strict):
    """Starts nothing new on a host or of a label; answered with the ``Target``.

    :param kind: which of both, if a host and a label have the same name.
    """

    name: str
    kind: Literal["host", "label"] | None = None
    command: Literal["drain"] = "drain"


@dataclass(frozen=True)
class UndrainRequest(_Strict):
    """Ends a drain; answered with the ``Target``."""

    name: str
    kind: Literal["host", "label"] | None = None
    command: Literal["undrain"] = "undrain"


@dataclass(frozen=True)
class SweepRequest(_Strict):
    """Sweeps all hosts now; answered with a ``HostSweep`` for each.

    :param dry_run: free nothing.
    """

    dry_run: bool = False
    command: Literal["sweep"] = "sweep"


@dataclass(frozen=True)
class HoldRequest(_Strict):
    """Keeps the VM of a job when that has ended, or longer; answered with ``WillBeHeld``.

    :param name: any of its names, see ``vms.py``.
    :param seconds: for how long, from the end of the job; from now if the VM is held already.
    :param user: who asks, as the client says.
    """

    name: str
    seconds: Annotated[float, Field(gt=0, le=LONGEST_HOLD)]
    user: Annotated[str, Field(max_length=LONGEST_USER)] = ""
    command: Literal["hold"] = "hold"


@dataclass(frozen=True)
class CancelHoldRequest(_Strict):
    """Takes the hold of a job's VM back before the job has ended; answered with its ``VmNames``.

    :param name: any of its names, see ``vms.py``.
    """

    name: str
    command: Literal["cancel_hold"] = "cancel_hold"


@dataclass(frozen=True)
class ReleaseRequest(_Strict):
    """Ends a VM that is held; answered with its ``VmNames`` when nothing of it is left.

    :param name: any of its names, see ``vms.py``.
    """

    name: str
    command: Literal["release"] = "release"


@dataclass(frozen=True)
class ThawRequest(_Strict):
    """Continues a frozen VM; answered with ``Thawed``.

    :param name: any of its names, see ``vms.py``.
    :param seconds: for how long it is held then; ``None``: until the deadline that it has.
    :param host: on which it is to go on; ``None``: on the one that has frozen it.
    """

    name: str
    seconds: Annotated[float, Field(gt=0, le=LONGEST_HOLD)] | None = None
    host: str | None = None
    command: Literal["thaw"] = "thaw"


@dataclass(frozen=True)
class CancelThawRequest(_Strict):
    """Lets a frozen VM that waits to be thawed stay frozen; answered with its ``VmNames``.

    :param name: any of its names, see ``vms.py``.
    """

    name: str
    command: Literal["cancel_thaw"] = "cancel_thaw"


@dataclass(frozen=True)
class ExportRequest(_Strict):
    """Asks to pack a frozen VM; answered with an ``Exportable``, and noted in the audit log.

    An ``ExportedRequest`` follows.

    :param name: any of its names, see ``vms.py``.
    :param user: who asks, as the client says.
    """

    name: str
    user: Annotated[str, Field(max_length=LONGEST_USER)]
    command: Literal["export"] = "export"


@dataclass(frozen=True)
class ExportedRequest(_Strict):
    """Says what came of an export, for the audit log; answered with the VM in words.

    :param export: by which an ``Exportable`` names the export.
    :param is_done: whether there is a file.
    """

    export: Annotated[str, Field(max_length=100)]
    is_done: bool
    command: Literal["exported"] = "exported"


@dataclass(frozen=True)
class EndRequest(_Strict):
    """Ends a VM whatever it does; answered with its ``VmNames`` when nothing of it is left.

    A build in it starts again in another VM.

    :param name: any of its names, see ``vms.py``.
    """

    name: str
    command: Literal["end"] = "end"


@dataclass(frozen=True)
class ConsoleRequest(_Strict):
    """Opens the serial console of a VM; answered with ``ConsoleOpened``, and then the console.

    :param name: any of its names, see ``vms.py``.
    :param read_only: type nothing.
    :param user: who asks, as the client says.
    """

    name: str
    read_only: bool = False
    user: Annotated[str, Field(max_length=LONGEST_USER)] = ""
    command: Literal["console"] = "console"


@dataclass(frozen=True)
class UsageRequest(_Strict):
    """Sums what builds have used; answered with a ``UsageReport``.

    :param since: when the first builds began, in seconds since the epoch.
    :param until: when the next builds began that do not count; ``None``: all count.
    :param by: what builds of one sum have in common.
    """

    since: Annotated[float, Field(ge=0, le=NEWEST)]
    until: Annotated[float, Field(ge=0, le=NEWEST)] | None = None
    by: Literal["builder", "label", "host"] = "builder"
    command: Literal["usage"] = "usage"


@dataclass(frozen=True)
class RefreshRequest(_Strict):
    """Looks at all hosts and images now; answered with a text when that is done."""

    command: Literal["refresh"] = "refresh"


Request = (
    StatusRequest
    | DrainRequest
    | UndrainRequest
    | SweepRequest
    | RefreshRequest
    | UsageRequest
    | HoldRequest
    | CancelHoldRequest
    | ReleaseRequest
    | ThawRequest
    | CancelThawRequest
    | ExportRequest
    | ExportedRequest
    | EndRequest
    | ConsoleRequest
)


@dataclass(frozen=True)
class ConsoleOpened:
    """The VM of a console that is open.

    :param vm: its domain, host, worker, job and id, in words.
    :param read_only: whether nothing can be typed.
    """

    vm: str
    read_only: bool


@dataclass(frozen=True)
class _Refusal:
    """An error, as it comes over the socket."""

    brief: str
    details: str | None = None
    resolution: str | None = None

    @property
    def as_error(self) -> ControlError:
        return ControlError(self.brief, details=self.details, resolution=self.resolution)


_ERROR = TypeAdapter(_Refusal)
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="command")])


def encode_request(request: Request) -> bytes:
    """Return the line that asks for *request*.

    :raises ControlError: a text of it is too long, or no Unicode.
    """
    message = {"request": asdict(request)}
    line = _line(message)
    if len(line) > MAX_REQUEST or not _is_unicode(message):
        raise ControlError(
            "no master takes such a name",
            details=f"It is no UTF-8, or a request with it has more than {MAX_REQUEST} bytes.",
            resolution="'latent-libvirt status' shows the names that there are.",
        )
    return line


def decode_request(line: bytes) -> Request:
    """Return what *line* asks for.

    :raises ControlError: if that cannot be understood.
    """
    return request_of(_message(line).get("request"))


def request_of(value: Any) -> Request:
    """Return the request that a value of JSON is.

    :raises ControlError: if it is none.
    """
    try:
        return _REQUEST.validate_json(json.dumps(value))
    except ValidationError as error:
        details = "\n".join(_problem(problem) for problem in error.errors())
        raise ControlError("the request cannot be understood", details=details) from None


def encode_result(result: Any) -> bytes:
    """Return the line that answers a request with a dataclass, or a sequence of them."""
    return _line({"result": TypeAdapter(Any).dump_python(result, mode="json")})


def encode_error(error: LatentLibvirtError) -> bytes:
    """Return the line that answers a request with an error."""
    parts = {"brief": error.brief, "details": error.details, "resolution": error.resolution}
    return _line({"error": parts})


def decode_answer(line: bytes, type_: type[T]) -> T:
    """Return the result of that type.

    :raises ControlError: the one that was sent instead, or one that says why there is no result.
    """
    message = _message(line)
    try:
        if "error" in message:
            raise _ERROR.validate_python(message["error"]).as_error
        return TypeAdapter(type_).validate_python(message.get("result"))
    except ValidationError as error:
        raise _unintelligible(str(error)) from None


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps({"protocol": PROTOCOL, **message}).encode() + b"\n"


def _is_unicode(message: dict[str, Any]) -> bool:
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = from_json(line)
    except ValueError as error:
        raise _unintelligible(f"{error}") from None
    if not isinstance(message, dict) or message.get("protocol") != PROTOCOL:
        raise _unintelligible(f"There is no 'protocol': {PROTOCOL} in it.")
    return message


def _problem(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    return f"{place}: {problem['msg']}"


def _unintelligible(details: str) -> ControlError:
    return ControlError(
        f"what came over the control socket is not protocol {PROTOCOL}",
        details=details,
        resolution="Use the latent-libvirt command of the version that the master runs; after an "
        "upgrade, restart the master.",
    )
