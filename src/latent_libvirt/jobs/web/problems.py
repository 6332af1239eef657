# SPDX-License-Identifier: GPL-2.0-only
"""Problem documents (RFC 9457): the answers to requests that are refused or fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from latent_libvirt.errors import LatentLibvirtError

MEDIA_TYPE = "application/problem+json"

_LONGEST = 80
"""Characters of what a client has written, in a sentence."""

_TYPE = "urn:latent-libvirt:problem:"


class RefusedError(LatentLibvirtError):
    """Why a request is refused.

    :param status: the HTTP status.
    :param kind: the problem's name for programs; the last part of the document's ``type``.
    :param headers: what else the answer's head says.
    :param members: what else the document says.
    """

    def __init__(  # noqa: PLR0913 - what such a document has
        self,
        status: int,
        kind: str,
        brief: str,
        *,
        details: str | None = None,
        resolution: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(brief, details=details, resolution=resolution)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})
        self.members = members

    @property
    def document(self) -> dict[str, Any]:
        """The problem as JSON."""
        detail = " ".join(part for part in (self.details, self.resolution) if part)
        document = {"type": _TYPE + self.kind, "title": self.brief, "status": self.status}
        return document | ({"detail": detail} if detail else {}) | self.members


def no_token(details: str) -> RefusedError:
    """Return the answer to a client without a valid token (RFC 6750)."""
    return RefusedError(
        401,
        "no-valid-token",
        "a valid token is needed",
        details=details,
        resolution="Send the header 'Authorization: Bearer TOKEN'; 'latent-libvirt token create' "
        "makes tokens.",
        headers={"WWW-Authenticate": 'Bearer realm="jobs"'},
    )


def not_yours(token: str, builder: str) -> RefusedError:
    """Return the answer when a token is not for a builder."""
    return RefusedError(
        403,
        "not-in-scope",
        f"the token {token!r} is not for the builder {builder!r}",
        resolution="Use one whose scope names that builder.",
        headers={"WWW-Authenticate": 'Bearer realm="jobs", error="insufficient_scope"'},
    )


def not_in_scope(token: str, what: str, where: str) -> RefusedError:
    """Return the answer when a token is not for what a job asks for.

    :param where: a pointer to it.
    """
    return RefusedError(
        403,
        "not-in-scope",
        f"the token {token!r} is not for {what}",
        resolution="Use one whose scope has it ('latent-libvirt token list' shows them).",
        headers={"WWW-Authenticate": 'Bearer realm="jobs", error="insufficient_scope"'},
        errors=[{"pointer": where, "detail": f"the token is not for {what}"}],
    )


def too_many_unfinished(token: str, quota: int) -> RefusedError:
    """Return the answer when a token has as many jobs unfinished as it may."""
    return RefusedError(
        429,
        "too-many-unfinished",
        f"the token {token!r} has {quota} jobs that have not finished, and may have no more",
        details="Nothing was started.",
        resolution="Wait for some of them, or cancel some.",
        headers={"Retry-After": "10"},
    )


def no_such_job(uuid: str) -> RefusedError:
    """Return the answer when there is no job of that UUID."""
    return RefusedError(404, "no-such-job", f"there is no job {uuid[:100]}")


def unknown_builder(builder: str) -> RefusedError:
    """Return the answer when no master would run the job."""
    return RefusedError(
        422,
        "unknown-builder",
        f"no active master has a builder {builder!r}",
        details="Nothing was started.",
        resolution="Correct its name, or start a master that has it.",
    )


def unknown_label(label: str) -> RefusedError:
    """Return the answer when no builder is known for a label."""
    return RefusedError(
        422,
        "unknown-label",
        f"no builder runs jobs of label {label!r}",
        details="Nothing was started.",
        resolution="Name a builder, or give JobApi(labels={...}) one for that label.",
    )


def callback_not_allowed(url: str) -> RefusedError:
    """Return the answer when a result is to go where nobody has allowed it."""
    return RefusedError(
        422,
        "callback-not-allowed",
        "this callback URL is not allowed",
        details="A master sends to no address that is not known to be meant for that. Nothing was "
        "started.",
        resolution=f"Add the host of {url} to JobApi(callback_hosts=[...]), or leave it out.",
    )


def properties_refused(names: Iterable[str], why: str) -> RefusedError:
    """Return the answer when a client sets properties that are not for clients.

    :param why: what is said of each.
    """
    errors = [{"pointer": pointer("properties", name), "detail": why} for name in sorted(names)]
    named = ", ".join(repr(name) for name in sorted(names))
    return RefusedError(
        422,
        "invalid-job",
        f"no client can set {named} here",
        details=f"{why.capitalize()}. Nothing was started.",
        resolution="Leave it out, or call it something else.",
        errors=errors,
    )


def size_refused(error: LatentLibvirtError) -> RefusedError:
    """Return the answer when a job chooses a size that its label does not allow."""
    return RefusedError(
        422,
        "invalid-job",
        error.brief,
        details="Nothing was started.",
        resolution=error.resolution,
        errors=[{"pointer": pointer("properties"), "detail": error.brief}],
    )


def pointer(*parts: int | str) -> str:
    """Return the JSON pointer (RFC 6901) to a member, as a fragment."""
    return "#" + "".join(f"/{str(p).replace('~', '~0').replace('/', '~1')}" for p in parts)


def no_json(why: str) -> RefusedError:
    """Return the answer when a body is no JSON."""
    return RefusedError(400, "no-json", "the body is no JSON", details=f"{why}.")


def too_complex(why: str) -> RefusedError:
    """Return the answer when a body is not large, but costly to read."""
    return RefusedError(
        422,
        "too-complex",
        "the body is too deep, or has too much in it",
        details=f"{why}.",
        resolution="Let the job fetch what is large; its properties say from where.",
    )


def ambiguous(why: str) -> RefusedError:
    """Return the answer when not every program would read a body alike."""
    return RefusedError(422, "invalid-job", "this is no valid job", details=f"{why}.")


def no_text(where: str) -> RefusedError:
    """Return the answer when something is no text that can be stored."""
    return RefusedError(
        400,
        "no-text",
        f"{where} is no UTF-8, or has a NUL",
        resolution="Encode text as UTF-8, and in a URL each of its bytes as %XX.",
    )


def too_many_arguments(most: int) -> RefusedError:
    """Return the answer when a URL has more arguments than anything here takes."""
    return RefusedError(400, "too-many-arguments", f"the URL has more than {most} arguments")


def argument_for_nothing(name: str) -> RefusedError:
    """Return the answer when a URL has an argument that would change nothing."""
    return RefusedError(
        400,
        "unknown-argument",
        f"the URL has the argument {name[:_LONGEST]!r}, which nothing here takes",
        details="Nothing was done.",
        resolution="Leave it out. What is wanted of a job is said in the body of its POST.",
    )


def header_twice(name: str) -> RefusedError:
    """Return the answer when a request says in two ways what has to be said in one."""
    return RefusedError(
        400,
        "repeated-header",
        f"the header {name.title()!r} is there more than once",
        details="Which of them counts, not every program would see alike.",
        resolution="Send it once.",
    )


def not_said_to_be_json() -> RefusedError:
    """Return the answer when a body could be anything."""
    return RefusedError(
        415,
        "no-json",
        "the body has to be JSON",
        resolution="Send the header 'Content-Type: application/json'.",
    )


def encoded(how: str) -> RefusedError:
    """Return the answer when a body is compressed."""
    return RefusedError(
        415,
        "encoded",
        f"a body that is encoded as {how[:40]!r} is not read",
        resolution="Send it as it is, without the header 'Content-Encoding'.",
        headers={"Accept-Encoding": "identity"},
    )


def nothing_here() -> RefusedError:
    """Return the answer when there is nothing at a path."""
    return RefusedError(404, "nothing-here", "there is nothing at this address: jobs are at /jobs")


def failed(reference: str) -> RefusedError:
    """Return the answer when it is not the client's fault.

    :param reference: what the master's log has too.
    """
    return RefusedError(
        500,
        "failed",
        "this has failed",
        details=f"The master's log says why, at {reference}.",
        resolution="It is safe to repeat a POST that has a UUID.",
        reference=reference,
    )


def another_job(uuid: str) -> RefusedError:
    """Return the answer when a UUID is already that of a job that is not the same."""
    return RefusedError(
        409,
        "uuid-in-use",
        f"the UUID {uuid} is that of a job with another content",
        details="A POST that is repeated has to be exactly the same.",
        resolution="Choose another UUID for another job.",
        uuid=uuid,
    )


def too_large(limit: int) -> RefusedError:
    """Return the answer when a body is larger than *limit* bytes."""
    return RefusedError(
        413,
        "too-large",
        f"the body is larger than {limit} bytes",
        resolution="Let the job fetch what is large; its properties say from where.",
    )


def too_many(limit: int, wait: int) -> RefusedError:
    """Return the answer when a token has sent too many POSTs.

    :param limit: in a minute.
    :param wait: seconds.
    """
    return RefusedError(
        429,
        "too-many-jobs",
        f"more than {limit} POSTs in a minute",
        resolution=f"Try again in {wait} s.",
        headers={"Retry-After": str(wait)},
    )
