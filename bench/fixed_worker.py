# SPDX-License-Identifier: GPL-2.0-only
"""What runs inside a VM for Buildbot's LibVirtWorker: a worker that connects when the VM boots.

It is this project's launcher, which the image has, without the conversation with a pool: name,
password and master stand on the kernel's command line, or in a file where the VM boots by its BIOS.
So both kinds of VM boot equally quickly.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

HOME = Path("/usr/lib/latent-libvirt")
WORD = "bench.worker="
FILE = HOME / "fixed_worker.txt"


def main() -> None:
    """Be the worker."""
    sys.path.insert(0, str(HOME))
    import launcher  # type: ignore[import-not-found] # noqa: PLC0415 - it is there in the guest

    words = (FILE if FILE.exists() else Path("/proc/cmdline")).read_text().split()
    value = next(word.removeprefix(WORD) for word in words if word.startswith(WORD))
    name, password, host, port = value.split(",")
    module = launcher.import_worker()
    button = launcher.PowerButton()
    launcher.poll_for(launcher.has_default_route, launcher.NETWORK_PATIENCE)
    launcher.wait_for_master(host, int(port))
    user = launcher.find_user("worker")
    identity = launcher.Identity(
        name=name,
        password=password,
        master_host=host,
        master_port=int(port),
        time=time.time(),
        hostname=socket.gethostname(),
        entropy=b"",
        user="worker",
    )
    launcher.become(user)
    launcher.run_worker(module, identity, button)


if __name__ == "__main__":
    main()
