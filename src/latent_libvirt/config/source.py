# SPDX-License-Identifier: GPL-2.0-only
"""A YAML file as plain values, with the place of each of them in the file.

Which YAML is taken is in ``strict_yaml.py``, what the values mean in ``sections/``.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from latent_libvirt.advice import page
from latent_libvirt.config import strict_yaml
from latent_libvirt.config.problems import Problem
from latent_libvirt.config.text import path_text, quoted
from latent_libvirt.plain_text import display_name

if TYPE_CHECKING:
    from latent_libvirt.config.text import Location

LARGEST_FILE = 2**20
"""Bytes. A thousand labels with all their keys need less."""

_LONGEST_NUMBER = 18
"""Characters: what is longer is no number that anybody meant, and stays text."""

CHECK_PATH = "check the path"

_SYNTAX_REMEDIES = {
    "'\\t' that cannot start any token": "indent with spaces, not with tabs",
    "that cannot start any token": "put text that begins with this character in quotes",
    "mapping values are not allowed here": "check the indentation; text with ': ' needs quotes",
    "could not find expected ':'": "write ': ' between a key and its value",
    "did not find expected key": "check the indentation and the quotes of this and the line before",
    "expected <block end>": "give all keys of a mapping the same indentation",
    "while scanning a quoted scalar": "close the quotes",
    "while parsing a flow": "close the bracket, and separate what is in it with commas",
    "while scanning a double-quoted scalar": "write \\\\ for a backslash, or use single quotes",
    "keys and values": "is it the right file?",
    "nested too deeply": f"compare the file with {page('docs/reference/configuration.md')}",
}


@dataclass(frozen=True)
class Position:
    """Position of a value in the file.

    :param key: of its key, if it has one.
    :param text: a scalar as it is written, without quotes.
    :param usable: whether it is what the file says, not a stand-in for what was refused.
    """

    key: yaml.Mark | None
    value: yaml.Mark
    text: str | None
    usable: bool


@dataclass
class Source:
    """A document, as far as it could be read.

    :param file: its name, for people.
    :param value: its content; ``None`` if it is empty or no YAML.
    :param problems: what is wrong with the YAML, whatever it means.
    """

    file: str
    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    places: dict[Location, Position] = field(default_factory=dict)

    def report(self, mark: yaml.Mark | None, path: str, what: str, remedy: str) -> Problem:
        """Return a problem at *mark*; without one, at the start of the file."""
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        return Problem(self.file, line, column, path, what, remedy)

    def blame(
        self, location: Location, what: str, remedy: str, *, key: bool = False
    ) -> Problem | None:
        """Return a problem with the value at *location*, or with its key.

        What is not there is blamed on the mapping that it is missing from. ``None`` if the value
        was refused: that is a problem already.
        """
        place = self.places.get(location)
        if place is None:
            mark = self._nearest(location)
        elif not place.usable:
            return None
        else:
            mark = place.key if key and place.key is not None else place.value
        return self.report(mark, path_text(location), what, remedy)

    def text(self, location: Location) -> str | None:
        """Return a scalar as it is written; ``None`` for anything else."""
        place = self.places.get(location)
        return None if place is None else place.text

    def _nearest(self, location: Location) -> yaml.Mark | None:
        """Return the mark of the innermost key or list item around *location* that is there."""
        for length in range(len(location) - 1, 0, -1):
            place = self.places.get(location[:length])
            if place is not None:
                return place.key or place.value
        return None


def read(path: str | os.PathLike[str], *, if_missing: str = CHECK_PATH) -> Source:
    """Return what a file says; whatever it holds, its problems are no exceptions.

    :param if_missing: what to do if there is no such file.
    """
    source = Source(display_name(path))
    text = _text(path, source, if_missing)
    if text is not None:
        _compose(text, source)
    return source


def plain_value(text: str) -> Any:
    """Return what *text*, such as that of an option, would say as the value of a key.

    :raises ValueError: it is no YAML, or has what is not taken.
    """
    source = Source("")
    _compose(text, source)
    if source.problems:
        raise ValueError(source.problems[0].what)
    return source.value


def raw_content(path: str | os.PathLike[str]) -> bytes:
    """Return a file's bytes: at most one more than the largest file has.

    Only regular files are read: a FIFO would never end, and a device may never begin.

    :raises OSError: it cannot be read, or is no regular file.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            kind = "a FIFO" if stat.S_ISFIFO(mode) else "a device"
            raise OSError(0, f"it is {kind}, not a regular file")
        return file.read(LARGEST_FILE + 1)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting: the mere opening of a FIFO waits for somebody who writes."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _text(path: str | os.PathLike[str], source: Source, if_missing: str) -> str | None:
    try:
        content = raw_content(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        remedy = if_missing if isinstance(error, FileNotFoundError) else CHECK_PATH
        source.problems.append(
            Problem(source.file, None, None, "", f"cannot be read: {reason}", remedy)
        )
        return None
    if len(content) > LARGEST_FILE:
        source.problems.append(
            source.report(
                None, "", f"larger than {LARGEST_FILE >> 10} KiB", "is it the right file?"
            )
        )
        return None
    return _decoded(content, source)


def _decoded(content: bytes, source: Source) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8", "replace")
        source.problems.append(_at(source, before, "not UTF-8", "save the file as UTF-8"))
        return None


def _at(source: Source, before: str, what: str, remedy: str) -> Problem:
    """Return a problem at the end of the text *before* it."""
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    return Problem(source.file, line, column, "", what, remedy)


def _compose(text: str, source: Source) -> None:
    try:
        document = strict_yaml.compose(text)
    except yaml.reader.ReaderError as error:
        character = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML"
        source.problems.append(_at(source, text[: error.position], character, "remove it"))
    except yaml.MarkedYAMLError as error:
        source.problems.append(_syntax_problem(error, source))
    else:
        for refusal in document.refusals:
            problem = source.report(refusal.mark, "", refusal.what, refusal.remedy)
            source.problems.append(problem)
        if document.root is not None:
            source.value = _Reader(source, document).value(document.root, (), None)


def _syntax_problem(error: yaml.MarkedYAMLError, source: Source) -> Problem:
    words = " ".join(part for part in (error.context, error.problem) if part)
    remedy = next(
        (remedy for sign, remedy in _SYNTAX_REMEDIES.items() if sign in words),
        "check the indentation and the quotes here",
    )
    mark = error.problem_mark or error.context_mark
    return source.report(mark, "", f"not YAML: {error.problem or words}", remedy)


class _Reader:
    """Turns nodes into plain values, and notes their places."""

    def __init__(self, source: Source, document: strict_yaml.Document) -> None:
        self._source = source
        self._unusable = document.unusable

    def value(self, node: yaml.Node, location: Location, key: yaml.Mark | None) -> Any:
        """Return what *node* stands for."""
        scalar = isinstance(node, yaml.ScalarNode)
        text = node.value if scalar else None
        usable = id(node) not in self._unusable
        self._source.places[location] = Position(key, node.start_mark, text, usable)
        if scalar:
            return _scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [
                self.value(item, (*location, index), None) for index, item in enumerate(node.value)
            ]
        return self._mapping(node, location)

    def _mapping(self, node: yaml.Node, location: Location) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self._key(key, location)
            if name in found:
                self._duplicate(key, (*location, name))
            elif name is not None:
                found[name] = self.value(value, (*location, name), key.start_mark)
        return found

    def _key(self, node: yaml.Node, location: Location) -> str | None:
        if isinstance(node, yaml.ScalarNode) and id(node) not in self._unusable:
            return str(node.value)
        if id(node) not in self._unusable:
            self._add(node, location, "a key must be plain text", "write `key: value`")
        return None

    def _duplicate(self, node: yaml.Node, location: Location) -> None:
        first = self._source.places[location].key
        assert first is not None
        self._add(
            node,
            location,
            f"{quoted(str(location[-1]))} appears twice, first in line {first.line + 1}",
            "keep one of them",
        )

    def _add(self, node: yaml.Node, location: Location, what: str, remedy: str) -> None:
        problem = self._source.report(node.start_mark, path_text(location), what, remedy)
        self._source.problems.append(problem)


def _scalar(node: yaml.Node) -> Any:
    kind = str(node.tag).rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool":
        return node.value.lower() == "true"
    if kind in {"int", "float"} and len(node.value) <= _LONGEST_NUMBER:
        return int(node.value) if kind == "int" else float(node.value)
    return node.value
