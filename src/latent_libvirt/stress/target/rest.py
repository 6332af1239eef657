# SPDX-License-Identifier: GPL-2.0-only
"""Buildbot's REST API of a target, as anybody can read it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Collection
from typing import Any, Final

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.plain_text import as_text
from latent_libvirt.stress.target import addresses

TIMEOUT: Final = 30.0
INTERNAL_ERROR: Final = 500
_LARGEST: Final = 64 * 2**20


class TargetError(LatentLibvirtError):
    """A running deployment could not be asked, or does not have what a profile needs.

    :param is_refusal: whether the same question would have the same answer.
    """

    def __init__(self, brief: str, *, is_refusal: bool = False, **more: str) -> None:
        super().__init__(brief, **more)
        self.is_refusal = is_refusal


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another address would not be one that the profile allows."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


class Rest:
    """Reads from one deployment.

    :param url: of the web UI, with a slash at its end.
    :param listed: addresses that may be asked, beside loopback.
    """

    def __init__(self, url: str, listed: Collection[str] = ()) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(_NoRedirects, *addresses.handlers(listed))

    def rows(self, kind: str, query: str) -> list[dict[str, Any]]:
        """Return the rows of a collection, such as ``builders``.

        :raises TargetError: there is no answer, or not that of a Buildbot.
        """
        found = self._document(f"api/v2/{kind}?{query}")
        if not isinstance(found, dict) or not isinstance(found.get(kind), list):
            raise TargetError(
                f"what answers at {self._url} is no Buildbot",
                resolution="Give the URL of the web UI, like http://127.0.0.1:8010/.",
            )
        return list(found[kind])

    def first_page(self) -> None:
        """Read the page that the web UI begins with.

        :raises TargetError: there is no answer.
        """
        self._read("")

    def _document(self, path: str) -> Any:
        try:
            return json.loads(self._read(path))
        except (ValueError, RecursionError):
            return None

    def _read(self, path: str) -> bytes:
        try:
            with self._opener.open(self._url + path, timeout=TIMEOUT) as answer:
                return bytes(answer.read(_LARGEST))
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refused(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise TargetError(
                f"{self._url} cannot be reached",
                details=as_text(error),
                resolution="Check the URL, and whether the master runs.",
            ) from None

    def _refused(self, error: urllib.error.HTTPError) -> TargetError:
        return TargetError(
            f"{self._url} answered {error.code}",
            is_refusal=error.code < INTERNAL_ERROR,
            details=as_text(error.reason),
            resolution="Readers have no login. The REST API must answer them, as it does by "
            "default; otherwise put the load on a copy of the deployment that does.",
        )
