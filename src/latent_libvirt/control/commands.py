# SPDX-License-Identifier: GPL-2.0-only
"""Commands of the control socket, with the host or label that each is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.control.console import ConsoleSession
from latent_libvirt.control.messages import (
    CancelHoldRequest,
    CancelThawRequest,
    ConsoleRequest,
    ControlError,
    DrainRequest,
    EndRequest,
    ExportedRequest,
    ExportRequest,
    HoldRequest,
    RefreshRequest,
    ReleaseRequest,
    StatusRequest,
    SweepRequest,
    ThawRequest,
    UndrainRequest,
    UsageRequest,
)
from latent_libvirt.pool.room.caps import drained_by
from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.control.messages import (
        Request,
    )
    from latent_libvirt.control.operations import Operations


async def answer(pool: Operations, request: Request) -> Any:
    """Do what *request* says; return its result.

    :raises LatentLibvirtError: if that cannot be done.
    """
    match request:
        case StatusRequest():
            return pool.status()
        case DrainRequest():
            pool.drain(target := find(pool.config, request.name, request.kind))
            return target
        case UndrainRequest():
            target = find(pool.config, request.name, request.kind)
            _check_that_a_command_can_undrain(target, pool.config)
            pool.undrain(target)
            return target
        case SweepRequest() | RefreshRequest() | UsageRequest():
            return await _answer_about_all(pool, request)
        case ThawRequest() | CancelThawRequest() | ExportRequest() | ExportedRequest():
            return await _answer_about_a_frozen_vm(pool, request)
        case _:
            return await _answer_about_a_vm(pool, request)


async def _answer_about_all(
    pool: Operations, request: SweepRequest | RefreshRequest | UsageRequest
) -> Any:
    match request:
        case SweepRequest():
            return await pool.sweep(dry_run=request.dry_run)
        case RefreshRequest():
            return await pool.refresh()
        case UsageRequest():
            return await pool.usage(request)


async def _answer_about_a_frozen_vm(
    pool: Operations, request: ThawRequest | CancelThawRequest | ExportRequest | ExportedRequest
) -> Any:
    match request:
        case ThawRequest():
            host = None if request.host is None else find(pool.config, request.host, "host").name
            return await pool.holding.thaw(request.name, request.seconds, host)
        case CancelThawRequest():
            return pool.holding.cancel_thaw(request.name)
        case ExportRequest():
            return pool.exports.begin(request.name, request.user)
        case ExportedRequest():
            return pool.exports.end(request.export, is_done=request.is_done)


async def _answer_about_a_vm(
    pool: Operations,
    request: HoldRequest | CancelHoldRequest | ReleaseRequest | EndRequest | ConsoleRequest,
) -> Any:
    match request:
        case HoldRequest():
            return await pool.holding.hold(request.name, request.seconds, request.user)
        case CancelHoldRequest():
            return await pool.holding.cancel_hold(request.name)
        case ReleaseRequest():
            return await pool.holding.release(request.name)
        case EndRequest():
            return await pool.end(request.name)
        case ConsoleRequest():
            vm = pool.vm(request.name)
            return ConsoleSession(vm, read_only=request.read_only, user=request.user)


def _check_that_a_command_can_undrain(target: Target, config: PoolConfig) -> None:
    if target in drained_by(config):
        place = f"{target.kind}s.{target.name}"
        raise ControlError(
            f"{target} is drained by the pool's YAML file",
            details=f"{place}.drain is true there; the file says what a command cannot take back.",
            resolution=f"Remove `drain: true` from {place} and save the file.",
        )


def find(config: PoolConfig, name: str, kind: Literal["host", "label"] | None) -> Target:
    """Return the host or the label called *name*.

    :raises ControlError: if there is none, or both.
    """
    named: dict[Literal["host", "label"], Any] = {"host": config.hosts, "label": config.labels}
    asked = [kind] if kind is not None else list(named)
    found = [Target(k, name) for k in asked if name in named[k]]
    if len(found) == 1:
        return found[0]
    if found:
        raise ControlError(
            f"there are a host and a label called {name!r}",
            resolution="Say which: --host or --label.",
        )
    raise ControlError(
        f"there is no {' or '.join(asked)} called {name!r}",
        details="\n".join(suggestion(name, named[k], kind=f"{k}s") for k in asked),
    )
