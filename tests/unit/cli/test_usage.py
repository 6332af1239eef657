# SPDX-License-Identifier: GPL-2.0-only
"""The table of ``usage`` has numbers that people can read, of few builds and of many."""

from __future__ import annotations

import pytest
from rich.console import Console

from latent_libvirt.cli.usage import _table
from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.status.usage import UsageReport, UsageSum


def row(**used: float) -> str:
    """Return the row of a table whose builds have used that, with one space between its cells."""
    counts = dict.fromkeys(("peak_memory", "read", "written", "received", "sent"), 0)
    times = dict.fromkeys(("seconds", "vcpu_seconds", "cpu_seconds", "memory_seconds"), 0.0)
    of = UsageSum("check", 1, **{**times, **counts, **used})  # type: ignore[arg-type]
    console = Console(width=200)
    with console.capture() as said:
        console.print(_table(UsageReport((of,), ()), "builder"))
    return " ".join(said.get().splitlines()[-1].split())


@pytest.mark.parametrize(
    ("vcpu_seconds", "memory_seconds", "words"),
    [
        (2.98, 2.98 * 512 * MIB, "2 s 0.424 MiB h"),
        (5400.0, 5400.0 * 512 * MIB, "1h 30m 768 MiB h"),
        (3 * 86400.0, 3 * 86400.0 * 8 * GIB, "3d 00h 576 GiB h"),
        (400 * 86400.0, 400 * 86400.0 * 8 * GIB, "400d 00h 75 TiB h"),
    ],
)
def test_what_vms_were_given_is_in_units_of_its_size(
    vcpu_seconds: float, memory_seconds: float, words: str
) -> None:
    assert f" {words} " in row(vcpu_seconds=vcpu_seconds, memory_seconds=memory_seconds)
