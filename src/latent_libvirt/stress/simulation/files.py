# SPDX-License-Identifier: GPL-2.0-only
"""A process's limit on open files: hundreds of VMs and their workers need more than the usual."""

from __future__ import annotations

import resource


def allow_many_files() -> None:
    """Let this process have as many open files as it may."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
