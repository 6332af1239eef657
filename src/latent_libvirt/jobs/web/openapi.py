# SPDX-License-Identifier: GPL-2.0-only
"""Description of the API for programs (OpenAPI 3.1), made of the models that check requests."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import TypeAdapter

from latent_libvirt.jobs import models
from latent_libvirt.jobs.listing import Filters
from latent_libvirt.jobs.request import JobRequest
from latent_libvirt.jobs.web.problems import MEDIA_TYPE

if TYPE_CHECKING:
    from latent_libvirt.jobs.document import Addresses


def description(where: Addresses) -> dict[str, Any]:
    """Return the description of an API at these addresses."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Job API of latent_libvirt",
            "version": importlib.metadata.version("latent-libvirt"),
            "description": "One POST starts a job, one URL shows what became of it.",
        },
        "servers": [{"url": where.jobs.removesuffix("/jobs")}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> dict[str, Any]:
    uuid = {"name": "uuid", "in": "path", "required": True}
    job = {"parameters": [uuid | {"schema": {"type": "string", "format": "uuid"}}]}
    return {
        "/jobs": {"post": _post(), "get": _list()},
        "/jobs/{uuid}": job | {"get": _get(), "delete": _delete()},
        "/jobs/{uuid}/build": job | {"get": _lead("Buildbot's page of the current attempt")},
        "/jobs/{uuid}/log": job | {"get": _lead("the log of the current attempt")},
        "/jobs/openapi.json": {
            "get": {
                "summary": "Describe the API.",
                "responses": {"200": {"description": "A document of OpenAPI 3.1."}},
            }
        },
    }


def _post() -> dict[str, Any]:
    return {
        "operationId": "startJob",
        "summary": "Start a job. The same UUID again starts nothing, and returns the job.",
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": _json("JobRequest")},
        "responses": {
            "201": _answer("The job is accepted, and will have a result.", "Job"),
            "200": _answer("The job was accepted before.", "Job"),
            **_problems(
                {
                    400: "The body is no JSON.",
                    401: "The request has no valid token.",
                    403: "The token is not for this builder, label, property or priority.",
                    409: "The UUID is that of another job.",
                    413: "The body is too large.",
                    415: "`Content-Type` is not JSON, or the body is compressed.",
                    422: "The job is not valid, or no active master has its builder.",
                    429: "The token has too many POSTs or unfinished jobs. See `Retry-After`.",
                }
            ),
        },
    }


def _list() -> dict[str, Any]:
    properties: dict[str, Any] = Filters.model_json_schema()["properties"]
    return {
        "operationId": "listJobs",
        "summary": "List jobs, the newest first.",
        "security": [{}, {"token": []}],
        "parameters": [
            {"name": name, "in": "query", "schema": _without_null(schema)}
            for name, schema in properties.items()
        ],
        "responses": {
            "200": _answer("A page of jobs.", "Page"),
            **_problems(
                {
                    400: "An argument is unknown or not valid.",
                    401: "The request has no valid token.",
                }
            ),
        },
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an argument, which is left out rather than null."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "title")}
    return kept | next((s for s in schema.get("anyOf", []) if s != {"type": "null"}), {})


def _get() -> dict[str, Any]:
    found = _answer("The job. Browsers get a page that refreshes until the job has ended.", "Job")
    found["content"]["text/html"] = {"schema": {"type": "string"}}
    return {
        "operationId": "getJob",
        "summary": "Return a job.",
        "security": [{}, {"token": []}],
        "responses": {"200": found, **_problems(_NOT_SHOWN)},
    }


def _delete() -> dict[str, Any]:
    return {
        "operationId": "cancelJob",
        "summary": "Cancel a job.",
        "security": [{"token": []}],
        "responses": {
            "202": _answer("The job is being cancelled.", "Job"),
            "200": _answer("The job had ended before.", "Job"),
            **_problems(_NOT_SHOWN),
        },
    }


def _lead(where: str) -> dict[str, Any]:
    return {
        "summary": f"Redirect to {where}.",
        "security": [{}, {"token": []}],
        "responses": {"303": {"description": f"`Location` is {where}."}, **_problems(_NOT_SHOWN)},
    }


_NOT_SHOWN = {
    401: "The request has no valid token.",
    403: "The token is not for the job's builder.",
    404: "There is no such job, or it has no build or log yet.",
}


def _answer(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": _json(schema)}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _problems(texts: dict[int, str]) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(code): {"description": text, "content": content} for code, text in texts.items()}


def _schemas() -> dict[str, Any]:
    return {
        **_schemas_of(JobRequest, "JobRequest"),
        **_schemas_of(models.Job, "Job"),
        **_schemas_of(models.Page, "Page"),
        "Problem": {
            "type": "object",
            "properties": {
                "type": {"type": "string", "description": "Kind of the problem, as a URN."},
                "title": {"type": "string", "description": "The problem, in a sentence."},
                "status": {"type": "integer", "description": "The HTTP status."},
                "detail": {"type": "string", "description": "The cause and the remedy."},
            },
            "required": ["type", "title", "status"],
        },
    }


def _schemas_of(model: type[Any], name: str) -> dict[str, Any]:
    """Return the schema of *model* under its name, and those that it refers to."""
    schema = TypeAdapter(model).json_schema(
        ref_template="#/components/schemas/{model}", mode=_MODES[name]
    )
    return {**schema.pop("$defs", {}), name: schema}


_MODES: Final[Mapping[str, Literal["validation", "serialization"]]] = {
    "JobRequest": "validation",
    "Job": "serialization",
    "Page": "serialization",
}
