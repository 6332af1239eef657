# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt doctor``: reports what works on each host of a pool.yaml, what not, and why.

``latent_libvirt.doctor`` has the checks, ``views/doctor_view.py`` shows their findings.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react
from twisted.python.failure import Failure

from latent_libvirt.advice import page
from latent_libvirt.cli.hosts import chosen, host_option
from latent_libvirt.cli.views.doctor_view import (
    Document,
    Text,
)
from latent_libvirt.config.listener import find
from latent_libvirt.config.load import load
from latent_libvirt.config.problems import InvalidConfiguration
from latent_libvirt.control import client
from latent_libvirt.deferreds import cancelled_at_shutdown
from latent_libvirt.doctor import endpoint, taken_port
from latent_libvirt.doctor.finding import failed, fine
from latent_libvirt.doctor.host_checks import Options
from latent_libvirt.doctor.owner import state_directory
from latent_libvirt.doctor.run import Round
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name
from latent_libvirt.process.interrupts import ReactorStop, status_after

if TYPE_CHECKING:
    from latent_libvirt.cli.views.doctor_view import (
        Checklist,
    )
    from latent_libvirt.config.listener import Listener
    from latent_libvirt.doctor.finding import Finding

_CONFIGURATION = "configuration"


@click.command(short_help="Check the hosts of a pool.")
@click.argument("file", type=click.Path(), default="pool.yaml")
@host_option
@click.option("--no-vm", is_flag=True, help="Start no VM, not even to try KVM.")
@click.option(
    "--verify-images",
    is_flag=True,
    help="Download the labels' images, and compare them with their digests.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for programs.")
def doctor(
    file: str, names: tuple[str, ...], *, no_vm: bool, verify_images: bool, as_json: bool
) -> None:
    """Check the hosts of FILE, by default pool.yaml. Needs no master.

    Each line is one check. ✓ is fine, ! works but not as it should, and with ✗ jobs fail. The
    cause and the remedy follow. A VM of each label starts on each host, in a free slot, and is
    destroyed before it has a build. The exit status is 1 if a check failed.
    """
    shown = display_name(file)
    checklist: Checklist = Document(shown) if as_json else Text()
    try:
        config = load(file)
    except InvalidConfiguration as error:
        advice = f"Correct that; {page('docs/reference/configuration.md')} explains every key."
        checklist.add(None, failed(_CONFIGURATION, error, resolution=advice))
        raise SystemExit(checklist.finish()) from None
    hosts = chosen(config, names)
    checklist.add(None, fine(_CONFIGURATION, f"{shown} is good"))
    checklist.expect({name: config.hosts[name].uri for name in hosts})
    options = Options(vms=not no_vm, verify_images=verify_images)
    listener = find(Path(file).parent / "master.cfg")
    if listener is not None:
        for finding in _of_port(listener, Path(file).parent, by_tcp=config.uses_tcp):
            checklist.add(None, finding)
    round_ = Round(config, hosts, options, state_directory(), listener)
    with ReactorStop() as stop:
        react(partial(_examine, round_, checklist, stop))


def _of_port(listener: Listener, directory: Path, *, by_tcp: bool = True) -> list[Finding]:
    try:
        found = endpoint.check(listener, directory, by_tcp=by_tcp)
    except ConfigurationError as error:
        return [failed(endpoint.CHECK, error, resolution=f"Correct {listener}.")]
    taken = [] if client.runs_in(directory) else taken_port.taken(listener)
    return [*taken, *found[1:]] if taken else found  # the first says that it can be used


def _examine(
    round_: Round, checklist: Checklist, stop: ReactorStop, reactor: Any
) -> Deferred[None]:
    examined = Deferred.fromCoroutine(round_.examine(checklist, reactor))
    cancelled_at_shutdown(examined, reactor)
    stop.of(reactor)

    def finish(_result: None) -> NoReturn:
        raise SystemExit(checklist.finish())

    def give_up(failure: Failure) -> NoReturn:
        if isinstance(failure.value, CancelledError):
            raise SystemExit(status_after(stop.interrupt))
        failure.raiseException()

    def stop_quietly(failure: Failure) -> NoReturn:
        if not isinstance(failure.value, BrokenPipeError):
            failure.raiseException()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it
        raise SystemExit(1)

    return examined.addCallbacks(finish, give_up).addErrback(stop_quietly)
