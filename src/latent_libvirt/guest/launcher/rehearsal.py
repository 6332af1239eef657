# SPDX-License-Identifier: GPL-2.0-only
"""Rehearsal: a VM that waits has the time to do once what becoming a worker takes."""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Final, NoReturn

from .identity import parse_identity
from .machine import add_entropy
from .master import wait_for_master
from .messages import PROTOCOL, parse_message
from .power_button import PowerButton
from .rehearsal_master import play_master
from .user import find_user
from .worker import run_worker

_REHEARSAL_SECONDS: Final = 60


class Rehearsal:
    """Becoming a worker, of a master in this machine, in a separate process that ends then.

    An emulated processor runs code slowly the first time: QEMU has to translate it, again in each
    VM that was resumed. So what an identity will take is done before it comes. Nothing remains of
    it.

    :param module: see :func:`.worker.import_worker`.
    """

    def __init__(self, module: types.ModuleType, stages: Path = Path("/run")) -> None:
        self._stage = tempfile.mkdtemp(prefix="latent-libvirt-rehearsal-", dir=stages)
        self._actor = os.fork()
        if self._actor == 0:
            try:
                rehearse(module, Path(self._stage))
            finally:
                os._exit(1)

    def end(self) -> None:
        """Let nothing remain of it, however far it has come."""
        os.kill(self._actor, signal.SIGKILL)
        os.waitpid(self._actor, 0)
        shutil.rmtree(self._stage, ignore_errors=True)

    def wait(self) -> bool:
        """Wait for its end; return whether all went as it should."""
        ended = os.waitid(os.P_PID, self._actor, os.WEXITED | os.WNOWAIT)
        return ended is not None and ended.si_status == 0


def rehearse(module: types.ModuleType, stage: Path) -> None:
    """Be a worker in the directory *stage*, as :func:`.life.launch` would, and end.

    The console hears no more of it than that it is over.
    """
    signal.alarm(_REHEARSAL_SECONDS)
    console = os.dup(sys.stderr.fileno())
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(nowhere, descriptor)
    os.chdir(stage)

    def over() -> NoReturn:
        os.write(console, b"latent-libvirt launcher: has rehearsed\n")
        os._exit(0)

    port = play_master(over)
    identity = parse_identity(parse_message(identity_for_rehearsal(port)))
    find_user(identity.user)
    if os.geteuid() == 0:
        add_entropy(identity.entropy)
    wait_for_master(identity.master_host, identity.master_port)
    run_worker(module, identity, PowerButton(inputs=stage))


def identity_for_rehearsal(port: int) -> bytes:
    """Return a line with an identity that leads nowhere but to this machine."""
    message = {
        "protocol": PROTOCOL,
        "type": "identity",
        "name": "rehearsal",
        "password": "rehearsal",
        "master": {"host": "127.0.0.1", "port": port},
        "time": time.time(),
        "hostname": "rehearsal",
        "entropy": base64.b64encode(os.urandom(64)).decode(),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
    }
    return json.dumps(message).encode()
