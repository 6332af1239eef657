# SPDX-License-Identifier: GPL-2.0-only
"""YAML that is read by libyaml where that changes nothing but the time that it takes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config import strict_yaml

SPACE = ("  ", "\n", "\n  ", "\n    ", " ", ": ", ":", "- ", ", ")
SIGNS = (
    "[",
    "]",
    "{",
    "}",
    "'",
    '"',
    "''",
    "#",
    " # c",
    "-",
    ",",
    "\\",
    "\\n",
    "\\x41",
    "=",
    "|",
    ">",
    "?",
)
MARKERS = ("---", "...", "--- ", "<<: ", "&a ", "*a", "!t ", "%", "@", "\t", "\r", "\u00e9", "\x85")
WORDS = ("a", "key", "1", "1.5", "true", "~", "no", "0x1")
TEXTS = st.lists(st.sampled_from([*SPACE * 3, *WORDS * 2, *SIGNS, *MARKERS]), max_size=25).map(
    "".join
)


def everything(node: yaml.Node | None) -> Any:
    """Return what a node and those below it are, and where they stand."""
    if node is None:
        return None
    own = (node.tag, node.start_mark.line, node.start_mark.column)
    if isinstance(node, yaml.ScalarNode):
        return (*own, node.value)
    if isinstance(node, yaml.SequenceNode):
        return (*own, [everything(item) for item in node.value])
    return (*own, [(everything(key), everything(value)) for key, value in node.value])


def outcome(text: str) -> Any:
    """Return what a text means, or why it means nothing."""
    try:
        document = strict_yaml.compose(text)
    except yaml.YAMLError as error:
        return str(error)
    refusals = [(each.mark.line, each.mark.column, each.what) for each in document.refusals]
    return everything(document.root), refusals


@given(TEXTS)
def test_libyaml_changes_nothing(text: str) -> None:
    with pytest.MonkeyPatch.context() as only_pyyaml:
        only_pyyaml.setattr(strict_yaml, "_FastLoader", strict_yaml._Loader)
        expected = outcome(text)
    assert outcome(text) == expected


def test_libyaml_reads_what_most_files_consist_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(strict_yaml, "_Loader")
    text = "hosts:\n  one: {uri: 'test:///default', slots: 2}  # near\nmax_vms: 2\n"
    root = strict_yaml.compose(text).root
    assert root is not None
    assert len(root.value) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 30 + "]" * 30, "nested too deeply"),
        ("[" + "1, " * (strict_yaml.MOST_NODES + 1) + "1]", "more than 50000 keys and values"),
    ],
)
def test_a_limit_is_found_without_reading_twice(
    text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(strict_yaml, "_Loader")
    with pytest.raises(strict_yaml.LimitError, match=problem):
        strict_yaml.compose(text)
