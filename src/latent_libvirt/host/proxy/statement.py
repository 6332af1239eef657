# SPDX-License-Identifier: GPL-2.0-only
"""Statement of what a build was made of, as in-toto and SLSA have it.

Its materials are the image of the VM and what the forward proxy has fetched. Its subject is the
log of these fetches, since the pool does not know which files of a build are its products. A tool
that does can take the materials into its own statement.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latent_libvirt.host.proxy.record import Fetch

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://docs.buildbot.net/latest/"


@dataclass(frozen=True)
class About:
    """What a statement says besides the fetches.

    :param builder: of Buildbot.
    :param number: of the build.
    :param url: of the build's page.
    :param image: the digest of the VM's image, or the name of a volume.
    :param way: how the VM came up: ``cold``, ``resume`` or ``spare``.
    """

    builder: str
    number: int
    url: str
    label: str
    image: str
    way: str


def statement(about: About, fetches: Sequence[Fetch], *, left_out: int, log: str) -> dict[str, Any]:
    """Return the statement.

    :param left_out: fetches that are not listed.
    :param log: the text of the log.
    """
    return {
        "_type": STATEMENT,
        "subject": [{"name": "network", "digest": {"sha256": _sha256(log)}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"builder": about.builder, "number": about.number},
                "internalParameters": {"label": about.label, "start": about.way},
                "resolvedDependencies": [_image(about.image), *map(_material, fetches)],
            },
            "runDetails": {
                "builder": {"id": about.url.partition("#")[0]},
                "metadata": {"invocationId": about.url},
                "byproducts": [{"name": "fetches that are not listed", "content": left_out}],
            },
        },
    }


def _image(digest: str) -> dict[str, Any]:
    if re.fullmatch("[0-9a-f]{64}", digest):
        return {"name": "image", "digest": {"sha256": digest}}
    return {"name": "image", "annotations": {"volume": digest}}


def _material(fetch: Fetch) -> dict[str, Any]:
    """Return what is known: of what came through a ``CONNECT``, that is no digest."""
    annotations: dict[str, Any] = {
        "method": fetch.method,
        "status": fetch.status,
        "address": fetch.address,
        "bytesReceived": fetch.received,
        "bytesSent": fetch.sent,
    }
    if fetch.why:
        annotations["why"] = fetch.why
    digest = {"digest": {"sha256": fetch.sha256}} if fetch.sha256 else {}
    return {"uri": fetch.target, **digest, "annotations": annotations}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
