# SPDX-License-Identifier: GPL-2.0-only
"""``/jobs`` of a web server: which method of which path asks for what.

What is done is in ``jobs/manager.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from latent_libvirt.jobs.listing import Filters
from latent_libvirt.jobs.manager import (
    JobManager,
    canonical,
)
from latent_libvirt.jobs.request import parse
from latent_libvirt.jobs.web import (
    answers,
    openapi,
    problems,
)
from latent_libvirt.jobs.web.answers import (
    Answer,
    as_html,
    as_json,
    redirect,
)
from latent_libvirt.jobs.web.noting import note
from latent_libvirt.jobs.web.page import (
    CONTENT_SECURITY_POLICY,
    render,
)
from latent_libvirt.jobs.web.problems import RefusedError
from latent_libvirt.jobs.web.visit import Visit

if TYPE_CHECKING:
    from latent_libvirt.jobs.queries import (
        Attempt,
        Job,
    )
    from latent_libvirt.jobs.tokens import Token
    from latent_libvirt.upstream.ui.files import Files

log = Logger()

_VARY = {"Vary": "Accept"}

_NOT_YET = 2
"""Seconds after which to ask again for what a job does not have yet."""

_Handler = Callable[[JobManager, Any], Awaitable[Answer]]
_Methods = dict[str, _Handler]


class JobsResource(Resource):
    """Answers everything below ``/jobs``.

    :param manager: returns who serves; ``None`` if the master has no ``JobApi``.
    :param files: those of the page "Jobs" in Buildbot's UI, to which browsers are led; ``None`` if
        there is no UI here.
    """

    isLeaf = True

    def __init__(
        self, manager: Callable[[], JobManager | None], *, files: Files | None = None
    ) -> None:
        super().__init__()
        self._manager = manager
        self._files = files

    def render(self, request: Any) -> Any:
        """Answer, some time; with a file at once."""
        file = (self._files or {}).get(tuple(request.postpath))
        if file is not None and request.method in (b"GET", b"HEAD"):
            return file.render(request)
        answered = Deferred.fromCoroutine(self._answer(request))
        answered.addErrback(lambda failure: _give_up(request, failure))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        visit, manager = Visit(request, has_ui=self._files is not None), self._manager()
        answer = await self._answer_of(visit, manager)
        note(visit, answer, manager)
        answer.send(request)

    async def _answer_of(self, visit: Visit, manager: JobManager | None) -> Answer:
        try:
            visit.check_head()
            handler = _handler(visit)
            return (
                answers.as_problem(_no_api()) if manager is None else await handler(manager, visit)
            )
        except RefusedError as problem:
            return answers.as_problem(problem)
        except Exception:  # noqa: BLE001 - the client gets a reference, the log has it
            reference = uuid4().hex[:12]
            log.failure(
                "{reference}: {method} {uri} failed",
                reference=reference,
                method=visit.method,
                uri=visit.uri,
            )
            return answers.as_problem(problems.failed(reference))


def _give_up(request: Any, failure: Any) -> None:
    """Log what nobody expected, and let the client go."""
    log.failure("{uri}", failure, uri=request.uri)
    if request.channel is not None:
        request.channel.loseConnection()


def _handler(visit: Visit) -> _Handler:
    """Return what answers a request.

    :raises RefusedError: if there is nothing at its path (404), or not with its method (405).
    """
    method = "GET" if visit.method == "HEAD" else visit.method
    methods: _Methods
    match visit.path:
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
            raise problems.nothing_here()
    if method not in methods:
        allowed = ", ".join(methods)
        raise RefusedError(
            405, "wrong-method", f"only {allowed} can be used here", headers={"Allow": allowed}
        )
    return methods[method]


async def _start(manager: JobManager, visit: Visit) -> Answer:
    # Who asks, and how often, is looked at first: the rest costs more.
    token = _authenticate(manager, visit)
    manager.count(token)
    visit.refuse_arguments()
    request = parse(visit.body(manager.settings.max_body))
    visit.facts |= {"job": request.uuid, "builder": request.builder}
    document, is_new = await manager.start(token, request)
    visit.facts |= {"job": document["uuid"], "builder": document["builder"]}
    headers = {"Location": document["url"]}
    return as_json(document, status=201 if is_new else 200, headers=headers)


async def _list(manager: JobManager, visit: Visit) -> Answer:
    filters = Filters.parse(visit.arguments)
    if visit.has_ui and _wants_html(visit):
        return _lead_to_page(manager, visit)
    found = await manager.jobs(filters, _reader(manager, visit))
    return as_json(found, headers=_VARY)


def _lead_to_page(manager: JobManager, visit: Visit) -> Answer:
    """Lead to the same in Buildbot's UI."""
    path = "/".join(quote(part, safe="") for part in ("jobs", *visit.path))
    query = urlencode(visit.arguments, doseq=True)
    url = f"{manager.where.buildbot}#/{path}" + (f"?{query}" if query else "")
    return redirect(url, headers=_VARY)


async def _describe(manager: JobManager, _visit: Visit) -> Answer:
    return as_json(openapi.description(manager.where))


async def _show(manager: JobManager, visit: Visit) -> Answer:
    document = manager.document(await _job(manager, visit))
    if not _wants_html(visit):
        return as_json(document, headers=_VARY)
    if visit.has_ui:
        return _lead_to_page(manager, visit)
    policy = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
    return as_html(render(document), headers=_VARY | policy)


async def _cancel(manager: JobManager, visit: Visit) -> Answer:
    token = _authenticate(manager, visit)
    visit.facts["job"] = canonical(visit.path[0])
    visit.refuse_arguments()
    job = await manager.cancel(token, visit.path[0])
    visit.facts["builder"] = job.builder
    return as_json(manager.document(job), status=202 if job.finished_at is None else 200)


async def _lead_to_build(manager: JobManager, visit: Visit) -> Answer:
    job = await _job(manager, visit)
    return redirect(manager.where.build(_current(job)))


async def _lead_to_log(manager: JobManager, visit: Visit) -> Answer:
    """Lead to the log that the current attempt writes, or has written last."""
    attempt = _current(await _job(manager, visit))
    logs = [(step, each) for step in attempt.steps for each in step.logs]
    if not logs:
        raise _not_yet("log")
    step, each = logs[-1]
    for_people = manager.where.log(attempt, step, each)
    return redirect(for_people if _wants_html(visit) else manager.where.raw_log(each))


async def _job(manager: JobManager, visit: Visit) -> Job:
    reader = _reader(manager, visit)
    visit.facts["job"] = canonical(visit.path[0])
    job = await manager.job(visit.path[0], reader)
    visit.facts["builder"] = job.builder
    return job


def _authenticate(manager: JobManager, visit: Visit) -> Token:
    token = manager.authenticate(visit.header("authorization"))
    visit.facts["token"] = token.name
    return token


def _reader(manager: JobManager, visit: Visit) -> Token | None:
    reader = manager.reader(visit.header("authorization"))
    visit.facts["token"] = None if reader is None else reader.name
    return reader


def _current(job: Job) -> Attempt:
    if not job.attempts:
        raise _not_yet("build")
    return job.attempts[-1]


def _wants_html(visit: Visit) -> bool:
    return answers.prefers_html(visit.header("accept"))


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
