# SPDX-License-Identifier: GPL-2.0-only
"""The label that a build asks for: what the worker's ``label`` renders to, if that is a name."""

from __future__ import annotations

import reprlib
from typing import Any

from buildbot.process.properties import Property
from twisted.internet.defer import CancelledError

from latent_libvirt.errors import ConfigurationError


async def asked_label(worker: str, label: Any, properties: Any) -> str:
    """Return the label that a build with these properties asks for.

    :param worker: the name of the worker that *label* was given to.
    :param label: a name, or a renderable.
    :raises ConfigurationError: if rendering it fails, or gives no name. In Buildbot's distributor,
        any other error would hold up all other jobs of the builder too.
    """
    try:
        rendered = await properties.render(label)
    except CancelledError:
        raise  # nobody waits for it any more
    except Exception as error:
        raise ConfigurationError(
            f"worker {worker!r}: its label cannot be rendered",
            details=f"{type(error).__name__}: {error}",
            resolution="Correct the label in master.cfg, or the properties of the job.",
        ) from error
    if isinstance(rendered, str) and rendered.strip():
        return rendered
    if isinstance(label, Property):
        raise _unusable_property(worker, label.key, properties)
    raise ConfigurationError(
        f"worker {worker!r}: its label {_brief(label)} is {_kind(rendered)} for this build, "
        "and not the name of a label",
        resolution="Correct the label in master.cfg, or set the properties that it comes from.",
    )


def _unusable_property(worker: str, key: str, properties: Any) -> ConfigurationError:
    resolution = (
        f"Set {key!r} to the name of one of the pool's labels where the job is started, or give "
        f"the worker's label in master.cfg a default: util.Property({key!r}, default=...)."
    )
    details = f"Worker {worker!r} takes its label from that property."
    if not properties.hasProperty(key):
        brief = f"the build has no property {key!r}"
    else:
        kind = _kind(properties.getProperty(key))
        brief = f"the build's property {key!r} is {kind}, and not the name of a label"
    return ConfigurationError(brief, details=details, resolution=resolution)


def _kind(value: object) -> str:
    """Return what *value* is, in a few words: a client may have sent it."""
    if isinstance(value, str):
        return "empty"
    return _brief(value) if value is None else f"{_brief(value)} of type {type(value).__name__}"


def _brief(value: object) -> str:
    return reprlib.repr(value)
