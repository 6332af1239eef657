# SPDX-License-Identifier: GPL-2.0-only
"""Links from the documentation to other files of the repository, and new pictures, for mkdocs.

The site carries each file that a page links to, under ``repository/``. A link to a directory
becomes its path. A link to nothing is a warning, and thus an error: the build is strict.

Pictures that ``make docs`` has just taken replace those that the repository has.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks.repository")

LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)\s#]+)\)")

PICTURES = Path(".cache") / "pictures"


def on_files(files: Any, *, config: Any) -> Any:
    """Use the pictures of the last run, where there are any."""
    taken = Path(config.docs_dir).parent / PICTURES
    for file in files.media_files():
        if (picture := taken / PurePosixPath(file.src_uri).name).is_file():
            file.abs_src_path = str(picture)
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Return the text of a page with links that the site can follow."""
    root = Path(config.docs_dir).parent
    here = PurePosixPath("docs") / PurePosixPath(page.file.src_uri).parent

    def followed(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = os.path.normpath(here / target)
        if path.startswith("docs/"):
            return match.group()
        if not (root / path).exists():
            log.warning("%s links to %s, which is not there", page.file.src_uri, path)
        if not (root / path).is_file() or path.endswith(".md"):
            return f"`{path}`"
        copy = f"repository/{path}"
        if files.get_file_from_path(copy) is None:
            files.append(File.generated(config, copy, abs_src_path=str(root / path)))
        return f"[{text}]({os.path.relpath(copy, PurePosixPath(page.file.src_uri).parent)})"

    return LINK.sub(followed, markdown)
