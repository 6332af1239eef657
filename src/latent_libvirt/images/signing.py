# SPDX-License-Identifier: GPL-2.0-only
"""Signatures of images: ssh signatures of an image's name and digest, made and checked by OpenSSH.

All functions block.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images.programs import program
from latent_libvirt.plain_text import as_text, display_name

if TYPE_CHECKING:
    from latent_libvirt.images.description import Description

NAMESPACE: Final = "latent-libvirt-image"
"""What the signature is for. A signature for anything else, such as a git commit, is none."""

_WHO: Final = "publisher"
_TIMEOUT: Final = 30.0


def statement(description: Description) -> bytes:
    """Return what is signed. The digest covers all of the disk, the kernel and its command line."""
    return f"{description.name} {description.digest}\n".encode()


def sign(description: Description, key: Path) -> Description:
    """Return the description with a signature.

    :param key: of ssh: a private key, or a public one whose private key an agent has. A passphrase
        is asked for on the terminal.
    :raises ConfigurationError: ssh-keygen does not sign with that key, and why.
    """
    done = _ssh_keygen("-Y", "sign", "-n", NAMESPACE, "-f", str(key), said=statement(description))
    if done.returncode != 0:
        raise ConfigurationError(
            f"ssh-keygen does not sign with {display_name(str(key))}",
            details=as_text(done.stderr.decode(errors="replace").strip()),
            resolution="Name a private ssh key, or the public one of a key that ssh-agent has.",
        )
    return description.model_copy(update={"signature": done.stdout.decode()})


def is_signed(description: Description, keys: Sequence[str]) -> bool:
    """Return whether one of *keys* has signed that image.

    :param keys: public keys, as ssh writes them.
    :raises ConfigurationError: ssh-keygen is not installed.
    """
    signature = description.signature
    return signature is not None and _checked(statement(description), signature, tuple(keys))


@functools.lru_cache(maxsize=1024)
def _checked(said: bytes, signature: str, keys: tuple[str, ...]) -> bool:
    """Ask ssh-keygen. The answer to the same question is always the same."""
    with tempfile.TemporaryDirectory(prefix="latent-libvirt-") as directory:
        allowed, signed = Path(directory, "keys"), Path(directory, "signature")
        allowed.write_text("".join(f'{_WHO} namespaces="{NAMESPACE}" {key}\n' for key in keys))
        signed.write_text(signature)
        files = ("-f", str(allowed), "-s", str(signed))
        done = _ssh_keygen("-Y", "verify", "-n", NAMESPACE, "-I", _WHO, *files, said=said)
    return done.returncode == 0


def _ssh_keygen(*arguments: str, said: bytes) -> subprocess.CompletedProcess[bytes]:
    command = [program("ssh-keygen", package="openssh-client"), *arguments]
    try:
        return subprocess.run(
            command, input=said, check=False, capture_output=True, timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"ssh-keygen did not answer within {_TIMEOUT:g} s") from None
