# SPDX-License-Identifier: GPL-2.0-only
"""What all masters of this installation have in common; a copy lies beside each master.cfg.

The addresses come from the environment, which is the same on all machines: ``ci.env`` is a model
of it, and systemd's units read it.
"""

from __future__ import annotations

import os

from buildbot.plugins import steps, util

from latent_libvirt import read_secret
from latent_libvirt.multimaster import Common

common = Common(
    db_url=os.environ["CI_DB_URL"],
    router_url=os.environ["CI_ROUTER_URL"],
    buildbot_url=os.environ["CI_URL"],
    router_secret=read_secret(os.environ["CI_ROUTER_SECRET_FILE"]),
)

LABEL = "debian-12"  # of pool.yaml
BUILDERS = ("check",)


def factory() -> util.BuildFactory:
    """Return what a job does. Here: say which VM it has, and take a moment."""
    return util.BuildFactory(
        [
            steps.ShellCommand(name="which machine is this", command=["cat", "/etc/machine-id"]),
            steps.ShellCommand(name="work", command=["sleep", "2"]),
        ]
    )
