# SPDX-License-Identifier: GPL-2.0-only
"""Program of the init system's service: ``python3 -I -S /usr/lib/latent-libvirt/launcher``.

Python puts the directory that it runs first on its path. Its parent takes that place, so that the
modules are those of a package, and have no names that a module of others could have.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    package = Path(__file__).resolve().parent
    sys.path[0] = str(package.parent)
    sys.exit(import_module(f"{package.name}.life").main())
