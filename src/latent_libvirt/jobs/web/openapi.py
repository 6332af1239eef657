# SPDX-License-Identifier: GPL-2.0-only
"""The API's description for programs (OpenAPI 3.1), made of what the code itself checks."""

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
        "/jobs/openapi.json": {"get": {"responses": {"200": {"description": "This document."}}}},
    }


def _post() -> dict[str, Any]:
    return {
        "operationId": "startJob",
        "summary": "Start a job; repeated with its UUID, look it up.",
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": _json("JobRequest")},
        "responses": {
            "201": _answer("Accepted: it will have a result.", "Job"),
            "200": _answer("It was accepted before.", "Job"),
            **_problems(
                {
                    400: "The body is no JSON.",
                    401: "No valid token.",
                    403: "The token is not for this builder, label, property or priority.",
                    409: "The UUID is another job's.",
                    413: "The body is too large.",
                    415: "The body is not said to be JSON, or is compressed.",
                    422: "No valid job, or no active master has its builder.",
                    429: "Too many POSTs in a minute, or unfinished jobs; see Retry-After.",
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
            "200": _answer("A page of them.", "Page"),
            **_problems({400: "They cannot be listed by this.", 401: "No valid token."}),
        },
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an argument, which is left out rather than null."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "title")}
    return kept | next((s for s in schema.get("anyOf", []) if s != {"type": "null"}), {})


def _get() -> dict[str, Any]:
    found = _answer("The job; browsers get a page that refreshes itself.", "Job")
    found["content"]["text/html"] = {"schema": {"type": "string"}}
    return {
        "operationId": "getJob",
        "security": [{}, {"token": []}],
        "responses": {"200": found, **_problems(_NOT_SHOWN)},
    }


def _delete() -> dict[str, Any]:
    return {
        "operationId": "cancelJob",
        "security": [{"token": []}],
        "responses": {
            "202": _answer("It is being cancelled.", "Job"),
            "200": _answer("It had ended already.", "Job"),
            **_problems(_NOT_SHOWN),
        },
    }


def _lead(where: str) -> dict[str, Any]:
    return {
        "security": [{}, {"token": []}],
        "responses": {"303": {"description": f"Leads to {where}."}, **_problems(_NOT_SHOWN)},
    }


_NOT_SHOWN = {
    401: "No valid token.",
    403: "The token is not for its builder.",
    404: "There is no such job, or not yet what is asked for.",
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
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
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
