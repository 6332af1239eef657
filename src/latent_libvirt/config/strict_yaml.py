# SPDX-License-Identifier: GPL-2.0-only
"""PyYAML's node graph of a document, without what a configuration has no use for.

Anchors are refused since a few lines of them can stand for gigabytes, and tags and further
documents since nothing here could be meant by them. Scalars are read by the core schema of YAML 1.2
(chapter 10.3), as editors do: ``no`` is text, ``1:30`` is not ninety and ``010`` is ten.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

try:
    from yaml._yaml import CParser
except ImportError:  # PyYAML was built without libyaml

    class CParser:  # type: ignore[no-redef]
        """Reads nothing, so that PyYAML does."""

        def __init__(self, _text: str) -> None:
            raise yaml.YAMLError


DEEPEST = 20
"""Levels of nesting; the configuration has five."""

MOST_NODES = 50_000
"""Keys, values and lists. A thousand labels with all their keys need less, and each takes time."""

_NULL = "tag:yaml.org,2002:null"
_NO_TAG = (None, "!")

_READ_DIFFERENTLY = re.compile(r"[^\n -~]|[!%&*>?|]|:\s*[]},]|^(---|\.\.\.)", re.MULTILINE)
"""What libyaml and PyYAML may read differently although both read it. libyaml takes more tags, and
puts an empty value elsewhere."""


@dataclass(frozen=True)
class Refusal:
    """Something in the YAML that is not taken, and where it stands."""

    mark: yaml.Mark
    what: str
    remedy: str


@dataclass
class Document:
    """A composed document.

    :param root: ``None`` for an empty document.
    :param refusals: what was left out of it.
    :param unusable: the ids of nodes that stand for something refused.
    """

    root: yaml.Node | None = None
    refusals: list[Refusal] = field(default_factory=list)
    unusable: set[int] = field(default_factory=set)


class LimitError(yaml.MarkedYAMLError):
    """More than is taken of something."""


def compose(text: str) -> Document:
    """Return the first document of *text*.

    libyaml reads three times as fast. PyYAML decides on what libyaml refuses, since its sentences
    are the better ones, and on all text that the two could read differently.

    :raises yaml.YAMLError: if it is not YAML.
    """
    if _READ_DIFFERENTLY.search(text) is None:
        try:
            return _document(_FastLoader(text))
        except LimitError:
            raise
        except yaml.YAMLError:
            pass
    loader = _Loader(text)
    try:
        return _document(loader)
    except (
        ValueError,
        OverflowError,
    ) as error:  # PyYAML: an escape beyond Unicode's last character
        mark = loader.get_mark()
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=mark) from error
    finally:
        loader.dispose()


def _document(loader: _Strict) -> Document:
    if loader.check_node():
        loader.document.root = loader.get_node()
    loader.refuse_further_documents()
    return loader.document


class _Strict(Composer, Resolver):
    """Composes nodes, notes what it does not take, and goes on."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - shadows Resolver's, of YAML 1.1

    peek_event: Any
    get_event: Any

    def __init__(self) -> None:
        Composer.__init__(self)
        Resolver.__init__(self)
        self.document = Document()
        self._depth = 0
        self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose what the next event begins."""
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            self.get_event()
            return self._stand_in(event)
        self._check(event)
        refused_tag = self._strip(event)
        self._depth += 1
        self._nodes += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if refused_tag:
            self.document.unusable.add(id(node))
        return node

    def refuse_further_documents(self) -> None:
        """Note a second document, unless nothing but its marker is there."""
        if self.check_node():
            event: Any = self.peek_event()
            self._refuse(event, "a second YAML document begins", "keep everything in one document")

    def _check(self, event: Any) -> None:
        problem = None
        if self._depth > DEEPEST:
            problem = "nested too deeply"
        elif self._nodes >= MOST_NODES:
            problem = f"more than {MOST_NODES} keys and values"
        elif isinstance(event, yaml.ScalarEvent) and not _is_unicode(event.value):
            problem = "an escape stands for half a character"
        if problem is not None:
            raise LimitError(problem=problem, problem_mark=event.start_mark)

    def _strip(self, event: Any) -> bool:
        """Take from *event* what is not supported; return whether its value is void without it."""
        if event.anchor is not None:
            self._refuse(event, "YAML anchors are not supported", "write each value out")
            event.anchor = None
        if event.tag in _NO_TAG:
            return False
        self._refuse(event, f"the YAML tag {event.tag!r} is not supported", "remove it")
        event.tag = None
        if isinstance(event, yaml.ScalarEvent):
            event.implicit = (True, True)
        else:
            event.implicit = True
        return True

    def _refuse(self, event: Any, what: str, remedy: str) -> None:
        self.document.refusals.append(Refusal(event.start_mark, what, remedy))

    def _stand_in(self, event: Any) -> yaml.Node:
        self._refuse(event, "YAML aliases are not supported", "write the value out")
        node = yaml.ScalarNode(_NULL, "", event.start_mark, event.end_mark)
        self.document.unusable.add(id(node))
        return node


class _Loader(_Strict, Reader, Scanner, Parser):
    """Reads with PyYAML."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        _Strict.__init__(self)


class _FastLoader(_Strict, CParser):
    """Reads with libyaml."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        _Strict.__init__(self)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _resolve(tag: str, pattern: str, first: list[str]) -> None:
    _Strict.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), first
    )


_resolve("null", r"~|null|Null|NULL|", ["~", "n", "N", ""])
_resolve("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF"))
_resolve("int", r"[-+]?[0-9]+", list("-+0123456789"))
_resolve("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789"))
