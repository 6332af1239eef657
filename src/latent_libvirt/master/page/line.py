# SPDX-License-Identifier: GPL-2.0-only
"""Lines between two masters for one terminal, over Buildbot's message bus.

Users of the web UI can read the bus. So both ends agree on keys (X25519), and what they send is
encrypted (ChaCha20-Poly1305). Only masters can write on the bus. The number of a message is its
nonce, so a message that is lost, repeated or changed ends the line.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from latent_libvirt.deferreds import repeat
from latent_libvirt.timers import passed

ALIVE_EVERY: Final = 15.0
"""Seconds between two messages of an end that has nothing to say."""

SILENT_AFTER: Final = 50.0
"""Seconds without a message after which the other end is believed to be gone."""

MOST: Final = 32 * 1024
"""Bytes of a message. A router bounds them."""

ALIVE: Final = b"p"
OVER: Final = b"c"

_KEY: Final = 32


class Keys:
    """Keys of one end, for one line."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()

    @property
    def public(self) -> str:
        """What the other end gets."""
        return self._private.public_key().public_bytes_raw().hex()

    def ciphers(self, other: str, *, opens: bool) -> tuple[ChaCha20Poly1305, ChaCha20Poly1305]:
        """Return how to encrypt what is sent, and decrypt what comes.

        :param other: what the other end has sent.
        :param opens: whether this end opens the line.
        :raises ValueError: if that is no key.
        """
        shared = self._private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(other)))
        derive = HKDF(SHA256(), 2 * _KEY, salt=None, info=b"terminal of latent_libvirt")
        both = derive.derive(shared)
        first, second = ChaCha20Poly1305(both[:_KEY]), ChaCha20Poly1305(both[_KEY:])
        return (first, second) if opens else (second, first)


class Line:
    """One end.

    :param send: sends a message to the other end.
    :param ciphers: see :class:`Keys`.
    :param received: takes the kind and the content of what the other end has sent.
    :param lost: called once when the other end is gone, with the reason in words.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        ciphers: tuple[ChaCha20Poly1305, ChaCha20Poly1305],
        received: Callable[[bytes, bytes], None],
        lost: Callable[[str], None],
    ) -> None:
        self._send = send
        self._encrypt, self._decrypt = ciphers
        self._received = received
        self._lost = lost
        self._sent = self._taken = 0
        self._heard = 0.0
        self._reactor: Any = None
        self._loop: Any = None
        self.is_over = False

    def begin(self, reactor: Any) -> None:
        """Begin to say that this end is there, and to listen whether the other one is."""
        self._reactor = reactor
        self._heard = passed(reactor)
        what = "a terminal in a VM of another master"
        self._loop = repeat(self._look, every=ALIVE_EVERY, what=what, reactor=reactor)

    def _look(self) -> None:
        if passed(self._reactor) - self._heard > SILENT_AFTER:
            self.end("the other master does not answer")
        else:
            self.send(ALIVE)

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send *content*, in as many messages as it needs."""
        for at in range(0, len(content) or 1, MOST):
            if not self.is_over:
                piece = kind + content[at : at + MOST]
                encrypted = self._encrypt.encrypt(_nonce(self._sent), piece, None)
                self._sent += 1
                self._send({"data": base64.b64encode(encrypted).decode()})

    def take(self, data: Any) -> None:
        """Take a message of the other end."""
        if self.is_over:
            return
        try:
            text = self._decrypt.decrypt(_nonce(self._taken), base64.b64decode(data), None)
        except (InvalidTag, ValueError, TypeError):
            self.end("a message between the masters is lost")
            return
        self._taken += 1
        if self._reactor is not None:
            self._heard = passed(self._reactor)
        if text[:1] == OVER:
            self.end(text[1:].decode(errors="replace") or "the terminal is closed", is_told=True)
        elif text[:1] != ALIVE:
            self._received(text[:1], text[1:])

    def end(self, why: str = "", *, is_told: bool = False) -> None:
        """End the line.

        :param why: why, for the user; empty if this end wants it, and needs not be called.
        :param is_told: whether the other end has ended it.
        """
        if self.is_over:
            return
        if not is_told:
            self.send(OVER, why.encode())
        self.is_over = True
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if why:
            self._lost(why)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
