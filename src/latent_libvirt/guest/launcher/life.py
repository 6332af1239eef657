# SPDX-License-Identifier: GPL-2.0-only
"""Life of the launcher, from its start to the worker's end."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from .channel import Channel
from .conversation import await_identity
from .errors import ButtonPressed, LauncherError
from .link.frames import VERSION
from .link.loopback import begin_network
from .machine import apply
from .master import wait_for_master
from .network import NETWORK_TIMEOUT, has_default_route, has_network_card
from .panic import end_at_panic
from .ports import NETWORK_PORT_NAME, WORKER_PORT_NAME, open_port
from .power_button import PowerButton, linger
from .rehearsal import Rehearsal
from .tunnel import begin_tunnel
from .user import become, find_user
from .version import launcher_version
from .waiting import poll_for
from .worker import import_worker, run_worker, worker_version


def launch(channel: Channel) -> None:
    """Do everything from the first ``waiting`` to the worker's end."""
    end_at_panic()
    module = import_worker()
    button = PowerButton()
    poll_for(lambda: has_default_route() or not has_network_card(), NETWORK_TIMEOUT)
    about: dict[str, str | int] = {"launcher": launcher_version(), "worker": worker_version()}
    about["channel"] = about["proxy"] = VERSION
    identity = await_identity(
        channel,
        button,
        lambda: channel.send("waiting", saves=True, rehearses=True, tls=True, **about),
        lambda: Rehearsal(module),
    )
    user = find_user(identity.user)
    apply(identity)
    worker_port = -1
    if identity.channel is None:
        wait_for_master(identity.master_host, identity.master_port, identity.certificate)
    else:
        worker_port = open_port(WORKER_PORT_NAME)
    network_port = -1 if identity.network is None else open_port(NETWORK_PORT_NAME)
    channel.send("starting")
    channel.close()
    become(user)
    if identity.network is not None:
        os.environ.update(begin_network(network_port, identity.network))
    if identity.certificate is not None:
        port = begin_tunnel(identity.master_host, identity.master_port, identity.certificate)
        identity = replace(identity, master_host="127.0.0.1", master_port=port)
    if run_worker(module, identity, button, worker_port):
        linger(button)


def main() -> int:
    """Run as the init system's service; return the exit status."""
    channel = None
    try:
        channel = Channel(open_port())
        launch(channel)
    except ButtonPressed:
        return 0
    except Exception as error:  # noqa: BLE001 (whatever it is, the pool must hear of it)
        report(error, channel)
        return 1
    return 0


def report(error: Exception, channel: Channel | None) -> None:
    """Tell the console and, if it still listens, the pool what went wrong."""
    reason = str(error) if isinstance(error, LauncherError) else f"{type(error).__name__}: {error}"
    sys.stderr.write(f"latent-libvirt launcher: {reason}\n")
    if channel is not None and channel.is_open:
        channel.send("failed", reason=reason)
