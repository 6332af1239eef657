# SPDX-License-Identifier: GPL-2.0-only
"""The house as a whole: how long a chain of imports is, and how many modules share a room.

Which package may import which is in ``pyproject.toml`` (``tool.importlinter``), which ``tox -e
lint`` checks.
"""

from __future__ import annotations

from collections import Counter
from functools import cache

import grimp
import pytest

LONGEST_CHAIN = 12
MOST_MODULES = 25


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Give the imports that happen when the program runs."""
    return grimp.build_graph("latent_libvirt", exclude_type_checking_imports=True, cache_dir=None)


def test_no_chain_of_imports_is_longer_than_twelve_modules(graph: grimp.ImportGraph) -> None:
    @cache
    def chain(module: str) -> tuple[str, ...]:
        below = graph.find_modules_directly_imported_by(module)
        return (module, *max((chain(each) for each in sorted(below)), key=len, default=()))

    longest = max((chain(module) for module in sorted(graph.modules)), key=len)

    assert len(longest) <= LONGEST_CHAIN, " > ".join(longest)


def test_no_room_has_more_than_twenty_five_modules(graph: grimp.ImportGraph) -> None:
    rooms = Counter(module.rpartition(".")[0] for module in graph.modules)

    assert {room: count for room, count in rooms.items() if count > MOST_MODULES} == {}
