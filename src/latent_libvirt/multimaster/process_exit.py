# SPDX-License-Identifier: GPL-2.0-only
"""Process exit: a master whose every further action would do harm ends at once.

It does not clean up. Buildbot's own stop cancels builds for good, and writes to a database in which
others have taken over. The state after the exit is like that after a crash, which the other masters
and the next start of this one handle. Other modules decide when to exit.
"""

from __future__ import annotations

import os
from typing import Final, NoReturn

from twisted.logger import Logger

log = Logger()

STATUS: Final = os.EX_TEMPFAIL
"""Exit status: the supervisor is to start the master again (systemd: ``Restart=always``)."""


def leave(what: str, *, why: str) -> NoReturn:
    """End this process now.

    :param what: has happened.
    :param why: it cannot go on, and what becomes of its builds.
    """
    log.critical(
        "{what}. {why} This process ends now, with status {status}; its supervisor is to start it "
        "again.",
        what=what,
        why=why,
        status=STATUS,
    )
    os._exit(STATUS)
