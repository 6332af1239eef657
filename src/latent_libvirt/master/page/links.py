# SPDX-License-Identifier: GPL-2.0-only
"""Links from Buildbot's own pages to a VM on the page "VMs"."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

PLUGIN: Final = "latent_libvirt"


def link_to(master: Any, vm: str) -> str | None:
    """Return the link to a VM, by its id or its worker; ``None`` if no web UI has the page.

    A master of several that has no web UI does not know, and takes it that another one has it.
    """
    www = master.config.www
    has_no_ui = not www.get("port") and master.config.multiMaster
    is_shown = PLUGIN in www.get("plugins", {}) or has_no_ui
    return f"#/vms?vm={quote(vm, safe='')}" if is_shown else None
