# SPDX-License-Identifier: GPL-2.0-only
"""The body of ``POST /jobs``, and when two are the same.

It does not know which builders there are.
"""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic import model_validator as _model_validator

from latent_libvirt.jobs import (
    reserved,
    strict_json,
)
from latent_libvirt.jobs.posting import on_the_wire
from latent_libvirt.jobs.web import problems
from latent_libvirt.jobs.web.members import faults_in, without_nul, written
from latent_libvirt.jobs.web.problems import (
    RefusedError,
    pointer,
)
from latent_libvirt.plain_text import strict_values

LABEL = "label"
"""The property by which a build chooses its kind of VM."""

_MOST_PROPERTIES = 1000
_LARGEST_PRIORITY = 2**31 - 1
_MOST_FAULTS = 50
_LONGEST_NAME = 256


def _printable(name: str) -> str:
    """Refuse what changes how a line looks that shows it: controls, and what turns text around."""
    if not name.isprintable():
        raise ValueError("the name of a property must not contain control characters")
    return name


def _not_reserved(name: str) -> str:
    if (owner := reserved.whose(name)) is not None:
        raise ValueError(f"the property {name!r} belongs to {owner}: no client can set it")
    return name


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        has_port = parts.port != 0
        on_the_wire(text)
    except ValueError:
        raise ValueError("must be a URL of a host that can be asked") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user or a password")
    if not has_port or not text.isprintable() or " " in text:
        raise ValueError("must be a URL of a host that can be asked")
    return text


def _labelled(properties: dict[str, Any]) -> dict[str, Any]:
    """Refuse a label that could be no name: the master looks it up by that."""
    label = properties.get(LABEL, "any")
    if not isinstance(label, str) or not 0 < len(label) <= _LONGEST_NAME:
        raise ValueError(f"the property 'label' must be text of 1 to {_LONGEST_NAME} characters")
    return properties


_Text = Annotated[str, without_nul]
_Text256 = Annotated[str, Field(max_length=256), without_nul]
_Text512 = Annotated[str, Field(max_length=512), without_nul]
_Name = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME), without_nul]
_PropertyName = Annotated[_Name, AfterValidator(_printable), AfterValidator(_not_reserved)]
_Url = Annotated[str, Field(max_length=2048), without_nul, AfterValidator(_http_url)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Patch(_Strict):
    """A change to apply to the sources, as Buildbot's ``try`` sends it."""

    body: _Text = Field(description="The patch, as `patch` reads it.")
    level: Annotated[int, Field(ge=0, le=100)] = Field(
        1, description="Number of directories to strip from paths, as in `patch -p`."
    )
    author: _Text512 = Field("", description="Author of the patch.")
    comment: _Text = Field("", description="Comment on the patch.")
    subdir: _Text512 = Field("", description="Directory in which it is applied.")


class SourceStamp(_Strict):
    """The sources of one codebase."""

    branch: _Text256 | None = Field(None, description="Branch, or null for the default one.")
    revision: _Text256 | None = Field(None, description="Revision, or null for the latest one.")
    repository: _Text512 = Field("", description="URL of the repository.")
    project: _Text512 = Field("", description="Name of the project.")
    codebase: _Text256 = Field("", description="Name of the codebase.")
    patch: Patch | None = Field(None, description="Patch to apply to the sources.")

    @property
    def for_buildbot(self) -> dict[str, Any]:
        """The arguments of Buildbot's ``findSourceStampId``."""
        patch = self.patch.model_dump() if self.patch else {}
        return self.model_dump(exclude={"patch"}) | {f"patch_{k}": v for k, v in patch.items()}


class JobRequest(_Strict):
    """A job to start."""

    builder: _Name | None = Field(None, description="Name of the builder that runs the job.")
    label: _Name | None = Field(
        None,
        description="Kind of VM, as property `label` of the build. Without a builder, the master's "
        "configuration chooses the builder by the label.",
    )
    properties: Annotated[
        dict[_PropertyName, Annotated[JsonValue, without_nul]],
        Field(max_length=_MOST_PROPERTIES, description="Properties of the build."),
        AfterValidator(_labelled),
    ] = {}
    sourcestamps: Annotated[
        list[SourceStamp],
        Field(min_length=1, max_length=100, description="Sources, one of each codebase."),
    ] = [SourceStamp()]
    uuid: Annotated[UUID, written(strict_values.uuid)] | None = Field(
        None, description="Name of the job. Give one to repeat a POST safely."
    )
    priority: Annotated[
        int,
        Field(
            ge=-_LARGEST_PRIORITY,
            le=_LARGEST_PRIORITY,
            description="Priority. A higher one starts sooner.",
        ),
    ] = 0
    reason: _Text256 | None = Field(None, description="Reason of the job, for people.")
    callback_url: _Url | None = Field(
        None, description="URL that gets the finished job's document by POST."
    )

    @_model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.builder is None and self.label is None:
            raise ValueError("a builder or a label is needed")
        if self.label is not None and self.properties.get(LABEL, self.label) != self.label:
            raise ValueError("the property 'label' is not the label")
        codebases = [stamp.codebase for stamp in self.sourcestamps]
        if len(codebases) > len(set(codebases)):
            raise ValueError("there is more than one source stamp of a codebase")
        return self

    @property
    def wanted_label(self) -> str | None:
        """The kind of VM, whether it is asked for as label or as property."""
        of_property: Any = self.properties.get(LABEL)
        return of_property if self.label is None else self.label

    @property
    def digest(self) -> str:
        """What is equal for two requests that ask for the same."""
        content = self.model_dump(mode="json", exclude={"uuid"})
        canonical = json.dumps(
            content, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":")
        )
        return hashlib.sha256(canonical.encode()).hexdigest()


def parse(body: bytes) -> JobRequest:
    """Return what a body asks for.

    :raises RefusedError: if it is no JSON (400), or not what is expected (422).
    """
    try:
        strict_json.loads(body)
        return JobRequest.model_validate_json(body)
    except strict_json.NoJsonError as error:
        raise problems.no_json(str(error)) from None
    except strict_json.BoundError as error:
        raise problems.too_complex(str(error)) from None
    except strict_json.MeaningError as error:
        raise problems.ambiguous(str(error)) from None
    except ValidationError as error:
        raise _invalid(error) from None


def _invalid(error: ValidationError) -> RefusedError:
    errors = [
        {"pointer": pointer(*fault.where), "detail": fault.what}
        for fault in islice(faults_in(error), _MOST_FAULTS)
    ]
    details = "; ".join(f"{e['pointer']}: {e['detail']}" for e in errors[:3])
    return RefusedError(422, "invalid-job", "this is no valid job", details=details, errors=errors)
