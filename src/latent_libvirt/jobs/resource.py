# SPDX-License-Identifier: GPL-2.0-only
"""``/jobs`` of a web server: which method of which path asks for what.

What is done is the business of ``desk.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from latent_libvirt.jobs import http, openapi, problems
from latent_libvirt.jobs.desk import Desk
from latent_libvirt.jobs.http import Answer, as_html, as_json, redirect
from latent_libvirt.jobs.listing import Filters
from latent_libvirt.jobs.page import CONTENT_SECURITY_POLICY, render
from latent_libvirt.jobs.problems import RefusedError
from latent_libvirt.jobs.records import Attempt, Job
from latent_libvirt.jobs.request import parse

log = Logger()

_NOT_YET = 2
"""Seconds after which to ask again for what a job does not have yet."""

_Handler = Callable[[Desk, Any], Awaitable[Answer]]
_Methods = dict[str, _Handler]


class JobsResource(Resource):
    """Answers everything below ``/jobs``.

    :param desk: returns who serves; ``None`` if the master has no ``JobApi``.
    """

    isLeaf = True

    def __init__(self, desk: Callable[[], Desk | None]) -> None:
        super().__init__()
        self._desk = desk

    def render(self, request: Any) -> Any:
        """Answer, some time."""
        answered = Deferred.fromCoroutine(self._answer(request))
        answered.addErrback(lambda failure: log.failure("{uri}", failure, uri=request.uri))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        try:
            answer = await _handler(request)(self._find_desk(), request)
        except RefusedError as problem:
            answer = http.as_problem(problem)
        except Exception:  # noqa: BLE001 - the client is told, the log has it
            log.failure("{method} {uri} failed", method=request.method, uri=request.uri)
            answer = http.as_problem(_failed())
        answer.send(request)

    def _find_desk(self) -> Desk:
        desk = self._desk()
        if desk is None:
            raise _no_api()
        return desk


def _handler(request: Any) -> _Handler:
    """Return what answers a request.

    :raises RefusedError: if there is nothing at its path (404), or not with its method (405).
    """
    method = "GET" if request.method == b"HEAD" else request.method.decode("latin-1")
    methods: _Methods
    match [part.decode("utf-8", "replace") for part in request.postpath if part]:
        case []:
            methods = {"GET": _list, "POST": _start}
        case ["openapi.json"]:
            methods = {"GET": _describe}
        case [_uuid]:
            methods = {"GET": _show, "DELETE": _cancel}
        case [_uuid, "build"]:
            methods = {"GET": _lead_to_build}
        case [_uuid, "log"]:
            methods = {"GET": _lead_to_log}
        case _:
            raise RefusedError(404, "nothing-here", "there is nothing at this address")
    if method not in methods:
        allowed = ", ".join(methods)
        raise RefusedError(
            405, "wrong-method", f"only {allowed} can be used here", headers={"Allow": allowed}
        )
    return methods[method]


async def _start(desk: Desk, request: Any) -> Answer:
    token = desk.authenticate(request.getHeader("authorization"))
    document, is_new = await desk.start(token, parse(_body(desk, request)))
    headers = {"Location": document["url"]}
    return as_json(document, status=201 if is_new else 200, headers=headers)


def _body(desk: Desk, request: Any) -> bytes:
    kind = request.getHeader("content-type") or ""
    if http.media_type(kind) != http.JSON:
        raise RefusedError(
            415,
            "no-json",
            "the body has to be JSON",
            resolution="Send the header 'Content-Type: application/json'.",
        )
    body: bytes = request.content.read(desk.settings.max_body + 1)
    if len(body) > desk.settings.max_body:
        raise problems.too_large(desk.settings.max_body)
    return body


async def _list(desk: Desk, request: Any) -> Answer:
    reader = desk.reader(request.getHeader("authorization"))
    query = request.uri.partition(b"?")[2].decode("utf-8", "replace")
    filters = Filters.parse(parse_qs(query, keep_blank_values=True))
    return as_json(await desk.jobs(filters, reader))


async def _describe(desk: Desk, _request: Any) -> Answer:
    return as_json(openapi.description(desk.where))


async def _show(desk: Desk, request: Any) -> Answer:
    document = desk.document(await _job(desk, request))
    vary = {"Vary": "Accept"}
    if not _wants_html(request):
        return as_json(document, headers=vary)
    policy = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    return as_html(render(document), headers=vary | policy)


async def _cancel(desk: Desk, request: Any) -> Answer:
    token = desk.authenticate(request.getHeader("authorization"))
    job = await desk.cancel(token, request.postpath[0].decode("utf-8", "replace"))
    return as_json(desk.document(job), status=202 if job.finished_at is None else 200)


async def _lead_to_build(desk: Desk, request: Any) -> Answer:
    job = await _job(desk, request)
    return redirect(desk.where.build(_current(job)))


async def _lead_to_log(desk: Desk, request: Any) -> Answer:
    """Lead to the log that the current attempt writes, or has written last."""
    attempt = _current(await _job(desk, request))
    logs = [(step, each) for step in attempt.steps for each in step.logs]
    if not logs:
        raise _not_yet("log")
    step, each = logs[-1]
    for_people = desk.where.log(attempt, step, each)
    return redirect(for_people if _wants_html(request) else desk.where.raw_log(each))


async def _job(desk: Desk, request: Any) -> Job:
    reader = desk.reader(request.getHeader("authorization"))
    return await desk.job(request.postpath[0].decode("utf-8", "replace"), reader)


def _current(job: Job) -> Attempt:
    if not job.attempts:
        raise _not_yet("build")
    return job.attempts[-1]


def _wants_html(request: Any) -> bool:
    return http.prefers_html(request.getHeader("accept") or "")


def _not_yet(what: str) -> RefusedError:
    return RefusedError(
        404,
        f"no-{what}-yet",
        f"the job has no {what} yet",
        resolution="Ask again in a moment.",
        headers={"Retry-After": str(_NOT_YET)},
    )


def _no_api() -> RefusedError:
    return RefusedError(
        503,
        "not-ready",
        "this master does not serve jobs, or not yet",
        resolution="Ask again in a moment. If it has started, its master.cfg lacks "
        "util.JobApi(...) among c['services'].",
        headers={"Retry-After": "1"},
    )


def _failed() -> RefusedError:
    return RefusedError(
        500,
        "failed",
        "this has failed",
        resolution="The master's log says why. It is safe to repeat a POST that has a UUID.",
    )
