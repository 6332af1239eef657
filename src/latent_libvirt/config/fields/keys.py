# SPDX-License-Identifier: GPL-2.0-only
"""Public ssh keys."""

from __future__ import annotations

import base64
import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from latent_libvirt.config.faults import fault, raise_located
from latent_libvirt.config.fields.base import Written
from latent_libvirt.config.text import quoted

KEY_EXAMPLE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINGZGBfq1BVrN0EhNDzxdkqVM5RAqJchrV9KN1a3hVUA"
"""A public key whose private key nobody has."""

_KEY_PATTERN = (
    r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]{16,4096}={0,2}( [ -~]{0,200})?$"
)
_KEY_SCHEMA = {"type": "string", "pattern": _KEY_PATTERN}


def _one_or_more(value: object) -> object:
    """Take a bare key for a list of one."""
    return (value,) if isinstance(value, str) else value


def _public_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys:
        raise fault("the list is empty", "name a key, or remove `require_signed`")
    faults = [((index,), f) for index, key in enumerate(keys) if (f := _fault_of_key(key))]
    raise_located("keys", faults)
    return keys


def _fault_of_key(key: str) -> PydanticCustomError | None:
    """Return what is wrong with a public key as ssh writes it."""
    if "PRIVATE KEY" in key:
        return fault("that is a private key", "remove it from here, and write the public one")
    kind, _, rest = key.partition(" ")
    blob = rest.partition(" ")[0]
    if not re.fullmatch(_KEY_PATTERN, key) or not _begins_with_kind(blob, kind):
        what = f"{quoted(key)} is no public ssh key"
        return fault(what, "write it as in a file like ~/.ssh/id_ed25519.pub")
    return None


def _begins_with_kind(blob: str, kind: str) -> bool:
    """Whether the key itself says of which kind it is (RFC 4253, 6.6)."""
    try:
        content = base64.b64decode(blob, validate=True)
    except ValueError:
        return False
    return content.startswith(len(kind).to_bytes(4, "big") + kind.encode())


PublicKeys = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_more),
    AfterValidator(_public_keys),
    WithJsonSchema(
        {"oneOf": [_KEY_SCHEMA, {"type": "array", "items": _KEY_SCHEMA, "minItems": 1}]}
    ),
    Written("public ssh key, or list of them"),
]
