# SPDX-License-Identifier: GPL-2.0-only
"""Settings of a stressed master, which its configuration reads from its environment."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

VARIABLE: Final = "LATENT_LIBVIRT_STRESS"
"""The variable with the settings, as JSON."""


@dataclass(frozen=True)
class MasterSettings:
    """What one master has to know.

    :param name: of the master, and of the directory that it runs in.
    :param router_url: empty for a single master.
    :param workers_port: of the port for workers; 0 without workers.
    :param guests: the socket of the process with this master's guests; empty if they are real.
    :param label: of the VMs that run builds.
    :param start: the kind of start that VMs simulate.
    """

    name: str
    db_url: str
    web_url: str
    web_port: int = 0
    router_url: str = ""
    router_secret: str = ""
    workers_port: int = 0
    guests: str = ""
    label: str = "stress"
    start: str = "resumed"
    seed: int = 0

    @property
    def variables(self) -> dict[str, str]:
        """The environment of that master."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the settings of the master that this process is."""
        return cls(**json.loads(os.environ[VARIABLE]))

    @property
    def measurements(self) -> Path:
        """Where the master writes what it measures, from its base directory."""
        return Path("measured")
