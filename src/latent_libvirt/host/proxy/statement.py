# SPDX-License-Identifier: GPL-2.0-only
"""Statement of what a build was made of, as in-toto and SLSA have it.

Its resolved dependencies are the image of the VM and what the forward proxy has fetched. Its
subject is the log of these fetches, since the pool does not know which files of a build are its
products. A tool that does can take the dependencies into its own statement. What was refused or
failed is among the by-products, which are for people who look into an incident.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latent_libvirt.host.proxy.record import Fetch

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://docs.buildbot.net/latest/"

_OF_URIS: Final = "%:/?#[]@!$&'()*+,;="
"""Characters of a URI besides letters, digits and ``-._~`` (RFC 3986)."""


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
    digest = {"sha256": hashlib.sha256(log.encode()).hexdigest()}
    listed = {"name": "network", "digest": digest, "annotations": {"fetchesNotListed": left_out}}
    return {
        "_type": STATEMENT,
        "subject": [{"name": "network", "digest": digest}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"builder": about.builder, "number": about.number},
                "internalParameters": {"label": about.label, "start": about.way},
                "resolvedDependencies": [
                    _image(about.image),
                    *(_described(fetch) for fetch in fetches if not fetch.why),
                ],
            },
            "runDetails": {
                "builder": {"id": about.url.partition("#")[0]},
                "metadata": {"invocationId": about.url},
                "byproducts": [listed, *(_described(fetch) for fetch in fetches if fetch.why)],
            },
        },
    }


def _image(digest: str) -> dict[str, Any]:
    if re.fullmatch("[0-9a-f]{64}", digest):
        return {"name": "image", "digest": {"sha256": digest}}
    return {"name": "image", "uri": f"volume:{quote(digest)}"}


def _described(fetch: Fetch) -> dict[str, Any]:
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
    return {"uri": _uri(fetch), **digest, "annotations": annotations}


def _uri(fetch: Fetch) -> str:
    """Return a URI for what a guest has asked for, whatever it has sent."""
    text = re.sub("%(?![0-9A-Fa-f]{2})", "%25", quote(fetch.target, safe=_OF_URIS))
    if fetch.method == "CONNECT":
        return f"tcp://{text}"
    return text if re.match("https?://", text) else f"invalid:{text}"
