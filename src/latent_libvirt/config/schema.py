# SPDX-License-Identifier: GPL-2.0-only
"""The JSON schema of ``pool.yaml``, from which an editor completes and checks it as it is typed.

It follows from the models. It cannot say all that they do (that a label's host exists, for one):
``latent-libvirt check`` has the last word.
"""

from __future__ import annotations

import json
from typing import Any

from latent_libvirt.config.models import PoolConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def modeline(schema: str) -> str:
    """Return the comment in which editors find the schema (yaml-language-server's).

    :param schema: a path that starts at the YAML file, or a URL.
    """
    return f"# yaml-language-server: $schema={schema}"


def schema_text() -> str:
    """Return the schema as the text of a file."""
    schema = PoolConfig.model_json_schema()
    _let_defaults_fill_in(schema["$defs"])
    schema = {"$schema": DIALECT, **schema, "title": "pool.yaml of latent_libvirt"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _let_defaults_fill_in(models: dict[str, Any]) -> None:
    """Require no key of a host or a label that `defaults` may have."""
    models["HostConfig"]["required"] = ["uri"]
    models["LabelConfig"].pop("required")
    models["HostDefaults"]["properties"].pop("uri")
