# SPDX-License-Identifier: GPL-2.0-only
"""The schema of a statement with SLSA's provenance, as models that take nothing else.

After ``provenance.proto`` of SLSA 1.1, and the field types of in-toto's attestations 1.0. In JSON,
they have the same names in camel case, and bytes in base64.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel

Uri = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:([A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*$"
    ),
]
Digest = dict[str, Annotated[str, StringConstraints(pattern="^[0-9a-f]+$")]]


class _Message(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class ResourceDescriptor(_Message):
    """Something that has a URI, a digest or a content."""

    uri: Uri | None = None
    digest: Digest | None = None
    name: str | None = None
    download_location: Uri | None = None
    media_type: str | None = None
    content: Base64Bytes | None = None
    annotations: dict[str, JsonValue] | None = None

    @model_validator(mode="after")
    def _is_identified(self) -> ResourceDescriptor:
        if not (self.uri or self.digest or self.content):
            raise ValueError("a descriptor has neither uri, digest nor content")
        return self


class _Subject(ResourceDescriptor):
    name: str
    digest: Digest = Field(min_length=1)


class _BuildDefinition(_Message):
    build_type: Uri
    external_parameters: dict[str, JsonValue]
    internal_parameters: dict[str, JsonValue] | None = None
    resolved_dependencies: list[ResourceDescriptor] | None = None


class _Builder(_Message):
    id: Uri
    version: dict[str, str] | None = None
    builder_dependencies: list[ResourceDescriptor] | None = None


class _Metadata(_Message):
    invocation_id: str | None = None
    started_on: AwareDatetime | None = None
    finished_on: AwareDatetime | None = None


class _RunDetails(_Message):
    builder: _Builder
    metadata: _Metadata | None = None
    byproducts: list[ResourceDescriptor] | None = None


class _Provenance(_Message):
    build_definition: _BuildDefinition
    run_details: _RunDetails


class Statement(_Message):
    """A statement of in-toto with that predicate."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: list[_Subject] = Field(min_length=1)
    predicate_type: Literal["https://slsa.dev/provenance/v1"]
    predicate: _Provenance
