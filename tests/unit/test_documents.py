# SPDX-License-Identifier: GPL-2.0-only
"""Links between documents lead somewhere, and pages that follow from the code are up to date.

``mkdocs build --strict``, which is part of lint, checks the links of the site as well.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{page}" for page in PAGES),
    *sorted(str(note.relative_to(ROOT)) for note in ROOT.glob("newsfragments/*.md")),
]
WITH_MENTIONS = [
    file
    for directory in ("src", "tests", "deploy", "images", "bench")
    for file in sorted((ROOT / directory).rglob("*"))
    if file.suffix in {".py", ".cfg", ".yaml", ".yml", ".service", ".txt"}
]


@cache
def _anchors(document: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-") for title in titles}


def _generator() -> ModuleType:
    spec = spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _links(document: str) -> list[str]:
    text = re.sub(r"^```.*?^```", "", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)


def _leads_somewhere(document: str, link: str) -> bool:
    directory = ROOT if document.startswith("newsfragments") else (ROOT / document).parent
    path, _, anchor = link.partition("#")
    target = directory / path if path else ROOT / document
    return target.exists() and (not anchor or anchor in _anchors(target))


def test_every_link_leads_somewhere() -> None:
    links = [(document, link) for document in DOCUMENTS for link in _links(document)]

    assert links
    assert [place for place in links if not _leads_somewhere(*place)] == []


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    listed = re.findall(r"[\w/-]+\.md", str(yaml.safe_load(menu)["nav"]))

    assert sorted(listed) == PAGES


@pytest.mark.parametrize("kind", ["tutorial", "how-to", "reference", "explanation"])
def test_every_page_is_in_the_index_of_its_kind(kind: str) -> None:
    index = (DOCS / kind / "index.md").read_text()

    for page in (DOCS / kind).glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index


def test_files_mention_no_page_that_is_not_there() -> None:
    mentioned = {
        (str(file.relative_to(ROOT)), page)
        for file in WITH_MENTIONS
        for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.(?:md|json)", file.read_text())
    }

    assert mentioned
    assert [(file, page) for file, page in mentioned if not (ROOT / page).exists()] == []


def test_pages_that_follow_from_the_code_are_up_to_date() -> None:
    for page, text in _generator().pages().items():
        assert (DOCS / page).read_text() == text, f"renew it: {sys.executable} docs/generate.py"


@pytest.mark.parametrize("page", ["architecture", "several-masters", "security", "faults"])
def test_modules_that_a_page_names_are_there(page: str) -> None:
    named = re.findall(r"`([\w/.-]+\.py)`", (DOCS / f"explanation/{page}.md").read_text())
    files = [f"/{file.relative_to(ROOT)}" for file in WITH_MENTIONS]

    assert named
    assert [name for name in named if not any(f.endswith(f"/{name}") for f in files)] == []
