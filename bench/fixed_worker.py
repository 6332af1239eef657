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
    from launcher import (  # type: ignore[import-not-found] # noqa: PLC0415 - it is in the guest
        identity,
        master,
        network,
        power_button,
        user,
        waiting,
        worker,
    )

    words = (FILE if FILE.exists() else Path("/proc/cmdline")).read_text().split()
    value = next(word.removeprefix(WORD) for word in words if word.startswith(WORD))
    name, password, host, port = value.split(",")
    module = worker.import_worker()
    button = power_button.PowerButton()
    waiting.poll_for(network.has_default_route, network.NETWORK_TIMEOUT)
    master.wait_for_master(host, int(port))
    account = user.find_user("worker")
    one = identity.Identity(
        name=name,
        password=password,
        master_host=host,
        master_port=int(port),
        time=time.time(),
        hostname=socket.gethostname(),
        entropy=b"",
        user="worker",
    )
    user.become(account)
    worker.run_worker(module, one, button)


if __name__ == "__main__":
    main()
