# SPDX-License-Identifier: GPL-2.0-only
"""Explanations of pydantic's errors: what is wrong and what would be right, with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from latent_libvirt.config.faults import FAULT, KEY
from latent_libvirt.config.fields.base import OrSection
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.config.text import (
    cut,
    described,
    quoted,
)

if TYPE_CHECKING:
    from latent_libvirt.config.problems import Problem
    from latent_libvirt.config.source import Source
    from latent_libvirt.config.text import Location

_MAPPING_ERRORS = {"model_type", "mapping_type", "dict_type", "model_attributes_type"}
_BELONGS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "bool_type": "true or false",
    "tuple_type": "a list",
}


def problems(
    errors: Iterable[Mapping[str, Any]], source: Source, root: type[BaseModel]
) -> Iterator[Problem]:
    """Yield the problems that *errors*, those of a ValidationError, stand for.

    :param root: the model of the whole document.
    """
    schema = _Schema(root)
    for error in errors:
        location = tuple(error["loc"])
        is_key = error["type"] == "extra_forbidden"
        if location[-1:] == (KEY,) and location not in source.places:
            location, is_key = location[:-1], True
        what, remedy = _words(error, location, source, schema)
        what += _from_defaults(location, error.get("ctx", {}).get("beside", ()), source)
        problem = source.blame(location, what, remedy, key=is_key)
        if problem is not None:
            yield problem


def _from_defaults(location: Location, beside: Iterable[str], source: Source) -> str:
    """Return which of the keys that a problem comes from stand in `defaults`, and where."""
    if location[:1] not in (("hosts",), ("labels",)):
        return ""
    owner, keys = location[:2], dict.fromkeys([*map(str, location[2:3]), *beside])
    lines = {
        key: place.key.line + 1
        for key in keys
        if (*owner, key) not in source.places
        and (place := source.places.get(("defaults", location[0], key))) is not None
        and place.key is not None
    }
    found = [f"`{key}` is from `defaults`, line {line}" for key, line in lines.items()]
    return f" ({'; '.join(found)})" if found else ""


def _words(
    error: Mapping[str, Any], location: Location, source: Source, schema: _Schema
) -> tuple[str, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind == FAULT:
        return context["what"], context["remedy"]
    if kind == "missing":
        return "missing", f"add `{location[-1]}: {schema.example(location)}`"
    if kind == "extra_forbidden":
        return "unknown key", suggestion(
            str(location[-1]), schema.siblings(location), kind="known keys"
        )
    if kind == "literal_error":
        return _not_a_choice(schema.field(location), error["input"])
    if kind in {"greater_than_equal", "less_than_equal"}:
        return _out_of_range(error)
    return _wrong_type(error, location, source, schema)


def _wrong_type(
    error: Mapping[str, Any], location: Location, source: Source, schema: _Schema
) -> tuple[str, str]:
    kind = error["type"]
    given = described(error["input"])
    if kind in _MAPPING_ERRORS:
        return f"{given} where a mapping belongs", f"write {schema.mapping_example(location)}"
    if kind in _BELONGS:
        return f"{given} where {_BELONGS[kind]} belongs", _like(
            "write one", _example(kind, location, schema)
        )
    if kind == "string_type":
        written = source.text(location)
        example = f"'{written}'" if written else schema.example(location)
        remedy = f"put it in quotes: {example}" if written else _like("write it", example)
        return f"{given} where text belongs", remedy
    if kind == "too_short":
        return "empty", f"name at least one: {schema.mapping_example(location)}"
    return str(error["msg"]), f"write it like {schema.example(location)}"


def _example(kind: str, location: Location, schema: _Schema) -> str:
    example = schema.example(location)
    is_item = kind == "tuple_type" and example and not example.startswith("[")
    return f"[{example}]" if is_item else example


def _like(verb: str, example: str) -> str:
    return f"{verb}, like {example}" if example else verb


def _not_a_choice(field: FieldInfo | None, given: Any) -> tuple[str, str]:
    choices = [str(choice) for choice in getattr(field.annotation, "__args__", ())] if field else []
    if not isinstance(given, str):
        return f"{described(given)} where a word belongs", f"write one of {', '.join(choices)}"
    what = f"{quoted(given)} is not among the choices"
    return what, suggestion(given, choices, kind="choices")


def _out_of_range(error: Mapping[str, Any]) -> tuple[str, str]:
    context, given = error["ctx"], cut(str(error["input"]))
    if "ge" in context:
        return f"{given} is too small", f"write at least {context['ge']}"
    return f"{given} is too large", f"write at most {context['le']}"


class _Schema:
    """What the models of a document say about its places.

    :param root: the model of the whole document.
    """

    def __init__(self, root: type[BaseModel]) -> None:
        self._root = root

    def model(self, location: Location) -> type[BaseModel] | None:
        """Return the model of the mapping at *location*."""
        model = self._root
        rest = list(location)
        while rest:
            field = model.model_fields.get(str(rest.pop(0)))
            found = _models_of(field) if field is not None else []
            if not found:
                return None
            model = found[0]
            if field is not None and _is_section_of_names(field):
                del rest[:1]
            while rest and isinstance(rest[0], int):  # of a list
                del rest[0]
        return model

    def siblings(self, location: Location) -> tuple[str, ...]:
        """Return the keys that may stand beside the one at *location*."""
        model = self.model(location[:-1])
        return tuple(model.model_fields) if model is not None else ()

    def field(self, location: Location) -> FieldInfo | None:
        """Return the field at *location*."""
        model = self.model(location[:-1]) if location else None
        return model.model_fields.get(str(location[-1])) if model is not None else None

    def example(self, location: Location) -> str:
        """Return what could stand at *location*."""
        field = self.field(location)
        if field is None:
            return self._example_of_item(location)
        if not field.examples:
            return self.mapping_example(location)
        example = field.examples[0]
        return f"[{', '.join(example)}]" if isinstance(example, list) else str(example)

    def _example_of_item(self, location: Location) -> str:
        """Return the first item of the example of the list that *location* is in."""
        field = self.field(location[:-1]) if location and isinstance(location[-1], int) else None
        if field is None or not field.examples:
            return ""
        example = field.examples[0]
        items = yaml.safe_load(example) if isinstance(example, str) else example
        return str(items[0] if isinstance(items, list) else items)

    def mapping_example(self, location: Location) -> str:
        """Return the mapping that could stand at *location*."""
        field = self.field(location)
        if field is not None and field.examples:
            return str(field.examples[0])
        model = self.model(location)
        if model is None:
            return "`key: value`"
        required = [key for key, known in model.model_fields.items() if known.is_required()]
        keys = ", ".join(f"{key}: ..." for key in required or list(model.model_fields)[:1])
        if field is not None and _is_section_of_names(field):
            return f"{{NAME: {{{keys}}}}}"
        return f"{{{keys}}}"


def _models_of(field: FieldInfo) -> list[type[BaseModel]]:
    """Return the models of a field: of its type, or of what may stand in its place."""
    marked = [mark.model for mark in field.metadata if isinstance(mark, OrSection)]
    return marked or _models_in(field.annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def _is_section_of_names(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is Mapping
