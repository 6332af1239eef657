# SPDX-License-Identifier: GPL-2.0-only
"""The login of a master at the message router, by WAMP-CRA: the secret itself is never sent.

Buildbot 4.3 joins the router as nobody in particular. Who reaches a router that lets such sessions
in can publish whatever a master publishes, and guests of ``user`` networks reach the host's
loopback. ``patches.py`` lets Buildbot's session do what is here. The secret is not part of
``c["mq"]``, which Buildbot writes to its log.
"""

from __future__ import annotations

from typing import Any, Final

from autobahn.wamp import auth

from latent_libvirt.advice import page

USER: Final = "buildbot"
"""Who masters are to the router (``users`` in its configuration)."""

METHOD: Final = "wampcra"

LEAST_LENGTH: Final = 16
"""Characters of a secret: who has seen one login can try as many secrets as there are."""

HOW_TO_MAKE: Final = "openssl rand -hex 32"

# Both messages are formats.
_PAGE: Final = page("docs/how-to/set-up-several-masters.md").replace("{", "{{").replace("}", "}}")

UNPROTECTED: Final = (
    "router_secret is not set: the router at {url} has to let everybody in who reaches it, and who "
    "is in can start, change and cancel builds. "
    f"See {_PAGE}, The router's secret."
)

REFUSED: Final = (
    "The router and this master have to have the same secret: router_secret in master.cfg, and the "
    "user {user} in the router's configuration "
    f"({_PAGE}, The router's secret)."
)

_secret: str | None = None


def use(secret: str | None) -> None:
    """Log in with this secret at the next session of this process; ``None`` is no login."""
    global _secret  # noqa: PLW0603 - a process is one master, and Buildbot makes its session
    _secret = secret


def is_wanted() -> bool:
    """Return whether this process has a secret to log in with."""
    return _secret is not None


def join(session: Any) -> None:
    """Ask the router to let a session in as a master."""
    session.join(session.config.realm, authmethods=[METHOD], authid=USER)


def answer(challenge: Any) -> str:
    """Return the answer to the router's challenge.

    :raises RuntimeError: the router asks for something else, such as the secret itself.
    """
    if challenge.method != METHOD or _secret is None:
        raise RuntimeError(f"the router wants a login by {challenge.method!r}, not by {METHOD}")
    key = _secret.encode()
    if "salt" in challenge.extra:
        salted = (challenge.extra[part] for part in ("salt", "iterations", "keylen"))
        key = auth.derive_key(key, *salted)
    signature: bytes = auth.compute_wcs(key, challenge.extra["challenge"].encode())
    return signature.decode()
