# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of values in a pool's configuration, each with its check and its JSON schema.

``models.py`` says which key has which kind.
"""

from __future__ import annotations

import base64
import functools
import ipaddress
import posixpath
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, TypeVar
from urllib.parse import SplitResult, parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import CroniterBadDateError, croniter
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    Strict,
    WithJsonSchema,
    WrapSerializer,
)
from pydantic_core import PydanticCustomError

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.budgets import LEAST_OVERCOMMIT, MOST_OVERCOMMIT
from latent_libvirt.config.domain_fragment import fragment
from latent_libvirt.config.faults import fault, raise_located, suggestion
from latent_libvirt.config.hardware import cpu_sets
from latent_libvirt.config.text import quoted
from latent_libvirt.config.units import (
    DURATION_PATTERN,
    MIB,
    SIZE_PATTERN,
    TIB,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

T = TypeVar("T")

MOST_VMS = 10_000
"""Bounds every count of VMs: Buildbot gets a worker for each."""

MOST_VCPUS_OF_A_VM = 512

MOST_VCPUS = 100_000
"""Bounds those of a whole host."""

DEFAULT_VCPUS = 1
DEFAULT_MEMORY = 512 * MIB
"""What a VM has if its label does not say."""

SMALLEST_MEMORY = 32 * MIB
SMALLEST_DISK = 32 * MIB
SMALLEST_SAVED_STATE_SPACE = 32 * MIB
DEFAULT_SAVED_STATE_SPACE = 20 * 1024 * MIB
DEFAULT_FETCH_CACHE = 1024 * MIB
LARGEST_SIZE = 64 * TIB
LONGEST_TIMEOUT = 24 * 3600.0
LONGEST_TIME = 30 * 24 * 3600.0
LARGEST_PORT = 65535

KEY_EXAMPLE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINGZGBfq1BVrN0EhNDzxdkqVM5RAqJchrV9KN1a3hVUA"
"""A public key whose private key nobody has."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
_DIGEST_PATTERN = r"^[0-9a-f]{12,64}$"
_USER_PATTERN = r"^[a-z_][a-z0-9_-]{0,31}$"
_CPU_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}( [+-][a-z0-9][a-z0-9_.-]{0,39}){0,64}$"
_MACHINE_PATTERN = r"^[a-z0-9][a-z0-9.-]{0,39}$"
_KEY_PATTERN = (
    r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]{16,4096}={0,2}( [ -~]{0,200})?$"
)
_SHARE_PATTERN = r"^[1-9][0-9]?%$"
_KEY_SCHEMA = {"type": "string", "pattern": _KEY_PATTERN}
_HOST_NAME = r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*\.?"

_NUMBER_AT_THE_END = r"(.*\.)?[0-9]+\.?"
"""What resolvers read as an IPv4 address, and refuse or misread: 256.1.1.1 or 10.1."""

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_LONGEST_LIBVIRT_NAME = 255
"""Bytes of a file's name, which those of volumes, pools and networks are."""

_CRON_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_ANY_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - cron has no time zone
_TRANSPORTS = ("unix", "ssh", "libssh", "libssh2", "tls", "tcp", "ext")
_URI_PATHS = ("/system", "/session")
_IP_AND_PORT_EXAMPLE = "for example 127.0.0.1:9177, or '[::1]:9177' in quotes"
_URI_EXAMPLE = "for example qemu:///system or qemu+ssh://user@host/system"


class Written(str):
    """A word for the kind of a value, as the reference of ``pool.yaml`` has it."""

    __slots__ = ()


def _text(pattern: str, what: str, remedy: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise fault(f"{quoted(text)} is not {what}", remedy)
        return text

    return check


def _name(text: str) -> str:
    if re.fullmatch(NAME_PATTERN, text):
        return text
    if text == "<<":
        raise fault("YAML merge keys are not supported", "write the keys out")
    near = re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:40]
    rule = "at most 40 small letters, digits and hyphens, not starting with a hyphen"
    raise fault(f"{quoted(text)} is not a name: {rule}", f"use {near!r}" if near else "rename it")


def _uri(text: str) -> str:
    """Accept what this package can drive: QEMU, and libvirt's own test driver.

    The form is that of libvirt's "Connection URIs": ``driver[+transport]://[user@][host]/path``.
    """
    parts = _split_uri(text)
    driver, plus, transport = parts.scheme.partition("+")
    if driver == "test":
        return text
    if driver != "qemu" or not re.match(r"[a-z0-9+]+://", text):
        what = f"{quoted(text)} has no driver that can be used here"
        raise fault(what, f"use qemu, {_URI_EXAMPLE}")
    if plus and transport not in _TRANSPORTS:
        what = f"{quoted(transport)} is not a transport of libvirt"
        raise fault(what, suggestion(transport, _TRANSPORTS, kind="transports"))
    if parts.path not in _URI_PATHS:
        what = f"the path {quoted(parts.path)} of {quoted(text)} is none of QEMU's"
        raise fault(what, f"end it with /system (or /session), {_URI_EXAMPLE}")
    _refuse_unprotected(parts, transport)
    return text


def _refuse_unprotected(parts: SplitResult, transport: str) -> None:
    """Refuse what lets anybody on the network read and change what goes to the hypervisor.

    To this machine itself it may be: at the other end there may be a tunnel.
    """
    if _is_loopback(parts.hostname or ""):
        return
    if transport == "tcp":
        raise fault(
            "qemu+tcp:// is neither encrypted nor authenticated: who can listen is root there",
            "use qemu+ssh:// or qemu+tls://",
        )
    unverified = [value for value in parse_qs(parts.query).get("no_verify", []) if value != "0"]
    if unverified:
        raise fault(
            "with no_verify, anybody may pose as the hypervisor",
            "remove it, and make the host's key or certificate known",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split_uri(text: str) -> SplitResult:
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise fault(f"{quoted(text)} is not a libvirt URI", f"write one, {_URI_EXAMPLE}")
    try:
        parts = urlsplit(text)
        _ = parts.port  # checked when asked for
    except ValueError as error:
        raise fault(f"{quoted(text)} is not a URI: {error}", f"write one, {_URI_EXAMPLE}") from None
    return parts


def _address(text: str) -> str:
    """Accept where a guest can connect to: a name, or an IP address that is one machine's."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if not re.fullmatch(_HOST_NAME, text) or re.fullmatch(_NUMBER_AT_THE_END, text):
            raise fault(
                f"{quoted(text)} is neither a host name nor an IP address",
                "write only that, without a port: the worker port is known",
            ) from None
    else:
        _refuse_unreachable(address, text)
    return text


def _refuse_unreachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> None:
    if getattr(address, "scope_id", None) is not None:
        raise fault(
            f"{quoted(text)} has a zone, which means something else in each guest",
            "write an address without '%', or a host name",
        )
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise fault(
            f"{quoted(text)} is no address of one machine",
            "write the master's own, as guests reach it",
        )


def _ip_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_one_machines(address, v6=address != host):
        what = f"{quoted(text)} does not begin with an IP address of this machine"
        raise fault(what, f"write it so, {_IP_AND_PORT_EXAMPLE}")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > LARGEST_PORT:
        raise fault(f"{quoted(text)} does not end with a port", f"add it, {_IP_AND_PORT_EXAMPLE}")
    return text


def _is_one_machines(address: str, *, v6: bool) -> bool:
    """Whether it is an IP address that a machine can listen at, or all of its addresses."""
    try:
        ip = ipaddress.IPv6Address(address) if v6 else ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return not ip.is_multicast and ip != _BROADCAST and "%" not in address


def _libvirt_name(text: str) -> str:
    if not text or not text.isprintable() or "/" in text or text in {".", ".."}:
        raise fault(f"{quoted(text)} cannot be a name in libvirt", "write it without '/'")
    if text != text.strip():
        raise fault(f"{quoted(text)} begins or ends with a space", f"write {quoted(text.strip())}")
    if len(text.encode()) > _LONGEST_LIBVIRT_NAME:
        what = f"{quoted(text)} is too long for a name in libvirt"
        raise fault(what, f"write at most {_LONGEST_LIBVIRT_NAME} bytes")
    return text


def _interface(text: str) -> str:
    """Accept what Linux does (``dev_valid_name`` in ``net/core/dev.c``)."""
    if not re.fullmatch(r"[^\s/:]{1,15}", _libvirt_name(text)) or len(text.encode()) > 15:  # noqa: PLR2004
        raise fault(
            f"{quoted(text)} cannot be the name of a bridge",
            "write it as 'ip link' shows it: at most 15 bytes, without spaces, '/' and ':'",
        )
    return text


def _at_least(smallest: int, what: str) -> Callable[[int], int]:
    def check(size: int) -> int:
        if size < smallest:
            shown = f"{size / MIB:g}MiB"
            raise fault(f"{shown} {what}", f"write at least {format_size(smallest)}")
        if size > LARGEST_SIZE:
            raise fault("the size is out of reach", f"write at most {format_size(LARGEST_SIZE)}")
        return size

    return check


def _timeout(seconds: float) -> float:
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise fault(f"{seconds:g}s is no time to wait for", "write more than 0s, and at most 24h")
    return seconds


def _long_time(seconds: float) -> float:
    if not 0 < seconds <= LONGEST_TIME:
        raise fault(f"{seconds:g}s is out of reach", "write more than 0s, and at most 720h")
    return seconds


def _cron(text: str) -> str:
    if len(text.split()) != len(_CRON_FIELDS) or not croniter.is_valid(text):
        raise fault(
            f"{quoted(text)} is not a time as in cron",
            f"write {', '.join(_CRON_FIELDS)}, like '* 7-18 * * mon-fri'",
        )
    if not _ever_comes(text):
        raise fault(
            f"{quoted(text)} never comes: no such month has that day",
            "correct the day of the month, or the month",
        )
    return text


def _ever_comes(cron: str) -> bool:
    """Whether any day of the next years matches; the 29th of February does."""
    try:
        croniter(cron, _ANY_DAY).get_next(datetime)
    except CroniterBadDateError:
        return False
    return True


@functools.cache
def zone_info(name: str) -> ZoneInfo:
    """Return the time zone of that name; its file is read when the configuration is, and kept.

    Python keeps only a few, and would read others again on the reactor's thread.
    """
    return ZoneInfo(name)


def _time_zone(text: str) -> str:
    try:
        zone_info(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(text, sorted(available_timezones()))
        remedy = f"did you mean {near!r}?" if near else "write one like 'Europe/Prague' or 'UTC'"
        raise fault(f"there is no time zone {quoted(text)}", remedy) from None
    return text


def _list(value: object) -> object:
    if isinstance(value, str):
        shown = value if re.fullmatch(NAME_PATTERN, value) else quoted(value)
        raise fault(f"{quoted(value)} is not a list", f"write [{shown}]")
    return value


def _share(value: object) -> object:
    """Return the part of one that a percentage is."""
    if not isinstance(value, str) or not re.fullmatch(_SHARE_PATTERN, value):
        raise fault(f"{quoted(str(value))} is not a share", "write a percentage, like 10%")
    return int(value.removesuffix("%")) / 100


def _one_or_more(value: object) -> object:
    """Take a bare key for a list of one."""
    return (value,) if isinstance(value, str) else value


def _public_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys:
        raise fault("the list is empty", "name a key, or remove `require_signed`")
    faults = [((index,), f) for index, key in enumerate(keys) if (f := _fault_of_key(key))]
    raise_located("keys", faults)
    return keys


def _fault_of_key(key: str) -> PydanticCustomError | None:
    """Return what is wrong with a public key as ssh writes it."""
    if "PRIVATE KEY" in key:
        return fault("that is a private key", "remove it from here, and write the public one")
    kind, _, rest = key.partition(" ")
    blob = rest.partition(" ")[0]
    if not re.fullmatch(_KEY_PATTERN, key) or not _begins_with_kind(blob, kind):
        what = f"{quoted(key)} is no public ssh key"
        return fault(what, "write it as in a file like ~/.ssh/id_ed25519.pub")
    return None


def _begins_with_kind(blob: str, kind: str) -> bool:
    """Whether the key itself says of which kind it is (RFC 4253, 6.6)."""
    try:
        content = base64.b64decode(blob, validate=True)
    except ValueError:
        return False
    return content.startswith(len(kind).to_bytes(4, "big") + kind.encode())


def cpu_set(text: str) -> str:
    """Return *text* if it is a set of CPUs.

    :raises PydanticCustomError: if not.
    """
    if not cpu_sets.is_one(text):
        raise fault(f"{quoted(text)} is not a set of CPUs", "write it like 2-5 or 2,4, in quotes")
    if not cpu_sets.cpus(text):
        raise fault(f"{quoted(text)} has no CPU", "write the smaller number first")
    if max(cpu_sets.cpus(text)) >= cpu_sets.MOST_CPUS:
        raise fault(f"{quoted(text)} is out of reach", f"write numbers below {cpu_sets.MOST_CPUS}")
    return text


def _list_of_sets(value: object) -> object:
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a list", "write a set for each slot: ['2-3', '4-5']")
    return value


def _apart(sets: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse sets that share a CPU: two VMs would."""
    slots: dict[int, int] = {}
    faults = [
        ((index,), fault(f"CPU {cpu} is in another set already", "have each CPU in one set only"))
        for index, text in enumerate(sets)
        for cpu in cpu_sets.cpus(text)
        if slots.setdefault(cpu, index) != index
    ]
    raise_located("sets", faults[:1])
    return sets


def _list_of_paths(value: object) -> object:
    if isinstance(value, str):
        raise fault(f"{quoted(value)} is not a list", "write it in brackets: [/srv/vms]")
    return value


def _path(text: str) -> str:
    plain = posixpath.normpath(text)
    if not text.startswith("/") or not text.isprintable() or plain.startswith("//"):
        raise fault(f"{quoted(text)} is not a whole path", "write it from / on, like /srv/vms")
    if text.rstrip("/") != plain.rstrip("/"):
        raise fault(f"{quoted(text)} goes up or repeats '/'", f"write {plain}")
    return plain


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise fault("the list is empty", "name a host, or remove the key to allow all of them")
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    raise_located(
        "hosts",
        [
            ((index,), fault(f"{quoted(name)} is there already", "remove one of them"))
            for index, name in enumerate(names)
            if first[name] != index
        ],
    )
    return names


def _read_only(mapping: Mapping[str, T]) -> Mapping[str, T]:
    return MappingProxyType(dict(mapping))


def _dict_of(mapping: Mapping[str, T], dump: SerializerFunctionWrapHandler) -> Any:
    return dump(dict(mapping))  # pydantic cannot write a MappingProxyType


def _as_text(format_value: Callable[[Any], str]) -> PlainSerializer:
    """Write a value in JSON (a schema's default, say) as the file would have it."""
    return PlainSerializer(format_value, return_type=str, when_used="json-unless-none")


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


Name = Annotated[
    str, Strict(), AfterValidator(_name), _schema(pattern=NAME_PATTERN), Written("name")
]
Uri = Annotated[
    str,
    Strict(),
    AfterValidator(_uri),
    _schema(pattern=r"^(qemu|test)(\+[a-z0-9]+)?://"),
    Written("libvirt URI"),
]
Address = Annotated[
    str,
    Strict(),
    AfterValidator(_address),
    _schema(minLength=1),
    Written("host name or IP address"),
]
IpAndPort = Annotated[
    str,
    Strict(),
    AfterValidator(_ip_and_port),
    _schema(pattern=r":[0-9]+$"),
    Written("IP address and port"),
]
LibvirtName = Annotated[
    str, Strict(), AfterValidator(_libvirt_name), _schema(pattern=r"^[^/]+$"), Written("text")
]
Interface = Annotated[
    str,
    Strict(),
    AfterValidator(_interface),
    _schema(pattern=r"^[^\s/:]{1,15}$"),
    Written("interface"),
]
Digest = Annotated[
    str,
    Strict(),
    AfterValidator(
        _text(
            _DIGEST_PATTERN,
            "a digest: 12 to 64 hexadecimal digits in small letters",
            "copy it from `latent-libvirt image list`",
        )
    ),
    _schema(pattern=_DIGEST_PATTERN),
    Written("12 to 64 hexadecimal digits"),
]
PublicKeys = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_more),
    AfterValidator(_public_keys),
    WithJsonSchema(
        {"oneOf": [_KEY_SCHEMA, {"type": "array", "items": _KEY_SCHEMA, "minItems": 1}]}
    ),
    Written("public ssh key, or list of them"),
]
Cpu = Annotated[
    str,
    Strict(),
    AfterValidator(
        _text(
            _CPU_PATTERN,
            "a processor",
            "write `host`, `host-model`, `maximum` or a model of libvirt's, and then features "
            "like +vmx or -avx2, as in 'Skylake-Server -avx512f'",
        )
    ),
    _schema(pattern=_CPU_PATTERN),
    Written("processor"),
]
Machine = Annotated[
    str,
    Strict(),
    AfterValidator(
        _text(_MACHINE_PATTERN, "a machine", "write one of `qemu-system-x86_64 -machine help`")
    ),
    _schema(pattern=_MACHINE_PATTERN),
    Written("machine"),
]
Fragment = Annotated[str, Strict(), AfterValidator(fragment), Written("elements of domain XML")]
CpuSets = Annotated[
    tuple[Annotated[str, Strict(), AfterValidator(cpu_set)], ...],
    BeforeValidator(_list_of_sets),
    AfterValidator(_apart),
    Written("list of sets of CPUs"),
]
Paths = Annotated[
    tuple[Annotated[str, Strict(), AfterValidator(_path)], ...],
    BeforeValidator(_list_of_paths),
    Written("list of paths"),
]
UserName = Annotated[
    str,
    Strict(),
    AfterValidator(_text(_USER_PATTERN, "a user's name on Linux", "use one like 'worker'")),
    _schema(pattern=_USER_PATTERN),
    Written("user name"),
]
VmCount = Annotated[int, Strict(), Field(ge=0, le=MOST_VMS)]
VcpuCount = Annotated[int, Strict(), Field(ge=1, le=MOST_VCPUS)]
Overcommit = Annotated[
    float, Strict(), Field(ge=LEAST_OVERCOMMIT, le=MOST_OVERCOMMIT), Written("factor")
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    _as_text(lambda share: f"{share * 100:g}%"),
    _schema(pattern=_SHARE_PATTERN),
    Written("percentage"),
]
Flag = Annotated[bool, Strict()]
Memory = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(SMALLEST_MEMORY, "of memory is too little to boot")),
    _as_text(format_size),
    _schema(pattern=SIZE_PATTERN),
    Written("size"),
]
DiskSize = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(SMALLEST_DISK, "is too small for a disk")),
    _as_text(format_size),
    _schema(pattern=SIZE_PATTERN),
    Written("size"),
]
SavedStateSpace = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(SMALLEST_SAVED_STATE_SPACE, "is too little for a saved VM")),
    _as_text(format_size),
    _schema(pattern=SIZE_PATTERN),
    Written("size"),
]
CacheSpace = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(_at_least(0, "is too little")),
    _as_text(format_size),
    _schema(pattern=SIZE_PATTERN),
    Written("size"),
]
Timeout = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_timeout),
    _as_text(format_duration),
    _schema(pattern=DURATION_PATTERN),
    Written("duration"),
]
LongTime = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_long_time),
    _as_text(format_duration),
    _schema(pattern=DURATION_PATTERN),
    Written("duration"),
]
Cron = Annotated[
    str, Strict(), AfterValidator(_cron), _schema(pattern=r"^\S+( +\S+){4}$"), Written("text")
]
TimeZone = Annotated[
    str, Strict(), AfterValidator(_time_zone), _schema(minLength=1), Written("text")
]
HostNames = Annotated[
    tuple[str, ...], BeforeValidator(_list), AfterValidator(_each_once), Written("list of names")
]
ByName = Annotated[Mapping[Name, T], AfterValidator(_read_only), WrapSerializer(_dict_of)]
"""Things by their names, in the order of the file; cannot be changed."""

SomeByName = Annotated[
    Mapping[Name, T],
    Field(min_length=1),
    AfterValidator(_read_only),
    WrapSerializer(_dict_of),
]
"""The same, of at least one thing."""
