# SPDX-License-Identifier: GPL-2.0-only
"""The bare script as a process: each line on its input is a job in a VM, and the next ends it.

It writes a line when it is ready, when a job has begun, and when the job's VM is gone.

    python bench/bare_job.py URI SLOT
"""

from __future__ import annotations

import sys

from latent_libvirt.host.libvirtd.event_loop import ensure_running
from start import Floor


def main(uri: str, slot: str) -> None:
    """Run jobs until the input ends."""
    ensure_running()
    floor = Floor(uri, int(slot))
    print("ready", flush=True)
    while sys.stdin.readline():
        with floor.vm():
            print("output", flush=True)
            sys.stdin.readline()
        print("gone", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
