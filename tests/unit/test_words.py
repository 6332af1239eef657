# SPDX-License-Identifier: GPL-2.0-only
"""Words and sentences as docs/contributing/style.md has them, in the code and its documents.

``NOT_YET`` has what is still to be cleaned. An entry that is no longer needed fails, so that the
list only shrinks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[2]

_Documented: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

INSTEAD = {
    "whoever|whomever": "name the thing: a client, an operator, a process",
    "anew": "again, new",
    "meanwhile": "say when, or leave it out",
    "in vain": "without success",
    "take note|takes note": "record",
    "by itself": "automatically, or leave it out",
    "of its own|of their own|of one's own": "separate, private, another",
    "the business of": "is in",
    "seal|seals|sealed|sealing|unsealed": "saved state, save, restore",
    "on record|off the record": "registered, unregister",
    "enrol|enrols|enrolled": "register",
    "greet|greets|greeted": "reattach",
    "let go|lets go|hand over|hands over|handed over|handing over": "release, assign",
    "burial|bury|buries|buried|undertaker": "failover, FailoverMonitor",
    "estate|estates": "orphans",
    "suspicion|suspicions": "failure detector",
    "patience": "timeout, retry for",
    "chore|chores": "background work",
    "fleet|ledger": "hosts, capacity",
    "wishes": "VmSpec, its hash",
}
"""What to say in the place of avoided words."""

ONE_WORD = {
    "hypervisor|hypervisors": "host; libvirt, for the program that answers there",
    "(?:build|compute|worker) nodes?": "host",
    "set aside|sets aside|setting aside": "in back-off",
    "(?:golden|gold|master) images?|(?:image|vm) templates?": "base image",
    "vm snapshots?|snapshots? of (?:a|the) vm": "saved state",
    "(?:vm|guest) instances?|virtual servers?|guest machines?": "VM",
}
"""The glossary's word, by other words for the same thing."""

QUOTED = re.compile(r"`[^`]*`|^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
"""Code in a page: keys and programs have the names that they have."""

OF_OTHERS = {
    "src/latent_libvirt/guest/launcher/machine.py": "the product that a guest's DMI tables name",
    "src/latent_libvirt/host/exporting/fitness.py": "libvirt's compareHypervisorCPU",
}
"""Files that name something of others, and what."""

NOT_YET: dict[str, set[str]] = {}

OPENS_WITH_A_NOUN = (
    "cli",
    "config",
    "control",
    "doctor",
    "guest",
    "images",
    "importing",
    "jobs",
    "metrics",
    "multimaster",
    "sandbox",
    "stress",
)
"""Packages whose modules' docstrings are checked."""

NO_NOUN = re.compile(
    r"(what|how|which|whether|who|whose|whom|where|when|why|from|to|it|this|there"
    r"|asks|carries|checks|decides|finds|gives|keeps|makes|notices|reads|runs|says|sees|starts|tells"
    r"|running|telling)\b",
    re.IGNORECASE,
)
"""Words that a module's docstring does not begin with: those of questions, and verbs."""

FILES = sorted(
    str(file.relative_to(ROOT))
    for file in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("src/**/*.py"),
    ]
    if file.name != "style.md"  # it lists them
)

MODULES = sorted(
    str(file.relative_to(ROOT))
    for package in OPENS_WITH_A_NOUN
    for file in ROOT.glob(f"src/latent_libvirt/{package}/**/*.py")
)

PAGES = sorted(
    str(page.relative_to(ROOT))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")]
    if page.name != "glossary.md"  # definitions begin with a colon
)


@cache
def _text(file: str) -> str:
    return (ROOT / file).read_text()


@cache
def _parsed(file: str) -> ast.Module:
    return ast.parse(_text(file))


def _avoided_in(text: str) -> set[str]:
    words = "|".join(INSTEAD).replace(" ", r"\s+(?:#\s+)?")
    found = re.findall(rf"(?<![a-z])({words})(?![a-z])", text, re.IGNORECASE)
    return {re.sub(r"\W+(?=\w)", " ", word).lower() for word in found}


def test_words_are_plain() -> None:
    avoided = {file: found for file in FILES if (found := _avoided_in(_text(file)))}

    assert avoided == NOT_YET, f"say this instead: {INSTEAD}"


def _synonyms_in(text: str) -> list[str]:
    text = re.sub(r"\s+(?:#\s+)?", " ", QUOTED.sub(" ", text))
    return re.findall(rf"(?<![a-z])(?:{'|'.join(ONE_WORD)})(?![a-z])", text, re.IGNORECASE)


def test_one_thing_has_one_word() -> None:
    checked = [f for f in FILES if f not in OF_OTHERS and "/stress/" not in f]
    synonyms = {f: found for f in checked if (found := _synonyms_in(_text(f)))}

    assert synonyms == {}, f"the glossary's word is another one: {ONE_WORD}"


@pytest.mark.parametrize(
    "text", ["One hypervisor.", "a golden\n# image", "It is set aside.", "Build nodes"]
)
def test_a_synonym_is_found(text: str) -> None:
    assert len(_synonyms_in(text)) == 1


def test_words_of_code_are_no_synonyms() -> None:
    assert _synonyms_in("`hypervisor: pool` has a compareHypervisorCPU and an instance") == []


def test_files_that_are_not_clean_yet_are_there() -> None:
    assert NOT_YET.keys() <= set(FILES)


@pytest.mark.parametrize("text", ["Sealed again.", "is the business\n    # of x", "old_estate = 1"])
def test_avoided_words_are_found(text: str) -> None:
    assert len(_avoided_in(text)) == 1


@pytest.mark.parametrize("text", ["whatever it is", "its own words", "handover"])
def test_other_words_are_not(text: str) -> None:
    assert _avoided_in(text) == set()


def test_docstrings_of_modules_open_with_a_noun() -> None:
    docstrings = {f: ast.get_docstring(_parsed(f)) for f in MODULES}

    assert [file for file, text in docstrings.items() if not text or NO_NOUN.match(text)] == []


def test_every_package_that_is_checked_has_modules() -> None:
    assert {file.split("/")[2] for file in MODULES} == set(OPENS_WITH_A_NOUN)


def _sentences(page: str) -> list[str]:
    """Return the sentences of a page, without headings, tables, images and code."""
    page = re.sub(r"^ *```.*?^ *```", "", page, flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"^ *(?:\||#|!\[).*$", "", page, flags=re.MULTILINE)
    page = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n\n", page, flags=re.MULTILINE)
    page = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "X", page))
    ends = r"(?<=[.!?])[)*\"]*\s+(?=[A-Z\[\"(*])|\n\s*\n"
    return [sentence for sentence in re.split(ends, page) if sentence.strip()]


def test_at_most_one_sentence_in_four_has_a_colon_or_a_semicolon() -> None:
    sentences = {page: _sentences(_text(page)) for page in PAGES}
    long = {page: [s for s in those if re.search("[:;]", s)] for page, those in sentences.items()}

    assert {p: those for p, those in long.items() if len(those) * 4 > len(sentences[p])} == {}


def _documented(node: ast.AST) -> Iterator[_Documented]:
    """Yield what may have a docstring; expressions have none in them, and are most of a module."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _documented(inner)


def _docstrings(file: str) -> list[str]:
    """Return the docstrings of a file, without the names of parameters and errors."""
    found = [ast.get_docstring(node) or "" for node in _documented(_parsed(file))]
    return [
        re.sub(r"^:\w+(?: [\w.]+)?:|:\w+:(?=`)", "", text, flags=re.MULTILINE) for text in found
    ]


def test_at_most_one_sentence_in_four_of_the_docstrings_has_a_colon_or_a_semicolon() -> None:
    sentences = [
        sentence
        for file in FILES
        if file.endswith(".py")
        for text in _docstrings(file)
        for sentence in _sentences(re.sub(r"``[^`]*``", "X", text))
    ]
    long = [sentence for sentence in sentences if re.search(r"[:;](?=\s|$)", sentence)]

    assert len(sentences) > 1000
    assert len(long) * 4 <= len(sentences), f"{len(long)} of {len(sentences)}"


def test_sentences_are_those_of_the_prose() -> None:
    text = "# One: two\n\nIt runs. `a: b` is set.\n\n- a list\n- one: two\n\n| a; b |\n"

    sentences = [sentence.strip() for sentence in _sentences(text)]

    assert sentences == ["It runs.", "X is set.", "a list", "one: two"]
