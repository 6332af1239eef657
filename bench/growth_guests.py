# SPDX-License-Identifier: GPL-2.0-only
"""Rows of ``growth.py`` about guests: their memory, their saved states, and what they share.

They are resumed by the bare script of ``start.py``, from states as a pool saves them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lab import Lab
from latent_libvirt.config.units import MIB
from start import Floor, Run, median

SMALL, LARGE = 512, 16_384
"""MiB of two guests."""

SLOTS, LABELS = 40, 100
DEFAULT_SPACE = 20 * 1024
"""MiB that a host may use for saved states unless it is configured."""

SHARING = 3
"""How many VMs of one image share memory."""

KSM = Path("/sys/kernel/mm/ksm")
AT_ONCE = 20_000
"""Pages that the kernel looks at in 20 ms, and then it rests."""

AT_MOST = 180.0
"""Seconds until pages are merged."""


def measure_memory(lab: Lab, rounds: int) -> dict[str, float]:
    """Resume a small guest and a large one, in turn."""
    small, large = (
        Floor(lab.uri, slot, memory=f"{size}MiB") for slot, size in ((3, SMALL), (4, LARGE))
    )
    few: list[Run] = []
    many: list[Run] = []
    for _ in range(rounds):
        few.append(small.run())
        many.append(large.run())
    return {
        "small_s": median(few),
        "large_s": median(many),
        "ratio": median(many) / median(few),
        "small_mib": _mib(small),
        "large_mib": _mib(large),
        "per_gib_mib": (_mib(large) - _mib(small)) / ((LARGE - SMALL) / 1024),
        "of_all_states": DEFAULT_SPACE / (SLOTS * LABELS * _mib(small)),
    }


def _mib(floor: Floor) -> float:
    return Path(floor.state.path).stat().st_blocks * 512 / MIB


def measure_density(lab: Lab, *, switch_on: bool) -> dict[str, float]:
    """Let VMs that were resumed wait, and see what the host has merged.

    :param switch_on: whether to have the kernel merge pages until that is measured.
    """
    if not KSM.exists():
        return {}
    with ExitStack() as stack:
        for number in range(SHARING):
            stack.enter_context(Floor(lab.uri, 5 + number).vm())
        alone = _pss()
        if switch_on:
            stack.enter_context(_merging())
            took = _until_merged()
        elif _read("run") != 1:
            return {"each_mib": alone}
        else:
            took = 0.0
        shared = _pss()
    return {
        "each_mib": alone,
        "each_merged_mib": shared,
        "until_merged_s": took,
        "ratio": shared / alone,
    }


def _pss() -> float:
    """Return the MiB of each VM, of which what several have counts in parts."""
    found = [_pss_of(process) for process in Path("/proc").glob("[0-9]*") if _is_ours(process)]
    return sum(found) / max(1, len(found))


def _is_ours(process: Path) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"qemu-system" in command and any(
        f"guest=latent-libvirt-{5 + number},".encode() in command for number in range(SHARING)
    )


def _pss_of(process: Path) -> float:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@contextmanager
def _merging() -> Iterator[None]:
    """Have the kernel merge pages; leave its settings as they were."""
    before = {name: _read(name) for name in ("pages_to_scan", "run")}
    try:
        _write("pages_to_scan", AT_ONCE)
        _write("run", 1)
        yield
    finally:
        for name, value in before.items():
            _write(name, value)


def _until_merged() -> float:
    """Wait for three looks at all of the memory, of which the first merges nothing."""
    began, scans = time.monotonic(), _read("full_scans")
    while _read("full_scans") < scans + 3 and time.monotonic() - began < AT_MOST:
        time.sleep(0.5)
    return time.monotonic() - began


def _read(name: str) -> int:
    return int((KSM / name).read_text())


def _write(name: str, value: int) -> None:
    (KSM / name).write_text(f"{value}\n")
