# SPDX-License-Identifier: GPL-2.0-only
"""Whatever a file holds: it is taken, or refused with located problems."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config import (
    HostConfig,
    ImageConfig,
    LabelConfig,
    MasterConfig,
    PoolConfig,
)

Problems = Callable[[str | bytes], list[str]]

EXAMPLE = (Path(__file__).parents[3] / "deploy/pool.example.yaml").read_text()
LINES = EXAMPLE.splitlines(keepends=True)

LOCATED = re.compile(r"(?P<line>\d+):(?P<column>\d+): .+; .+")

PIECES = (
    *("\t", "  ", "\n", ": ", "- ", "[", "]", "{", "}", "'", '"', "&a ", "*a", "!!str ", "---\n"),
    *("<<: *a\n", "? ", "#", "%", "|\n", ">\n", "\0", "\ufeff", "\u2028", "é", "\U0001f600"),
    *("~", "null", "true", "1e999", "-1", "0x10", "9" * 5000, '"\\ud800"', '"\\UFFFFFFFF"'),
    *("labels:", "hosts:", "memory:", "'[key]': 1\n", "%YAML 1.1\n", "%TAG ! x\n"),
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["debian-12", "alpha", "512MiB", "90s", "user", "[key]", "qemu:///system"]),
)
keys = st.sampled_from(
    [
        *("alpha", "debian-12", "[key]"),
        *PoolConfig.model_fields,
        *MasterConfig.model_fields,
        *HostConfig.model_fields,
        *ImageConfig.model_fields,
        *LabelConfig.model_fields,
    ]
)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(keys, st.text(max_size=4)), inner)
    ),
    max_leaves=20,
)


def check(problems: list[str], text: str) -> None:
    """Assert that each problem has a place within *text*, in order, and says both its halves."""
    places = []
    for problem in problems:
        match = LOCATED.fullmatch(problem)
        assert match, problem
        places.append((int(match["line"]), int(match["column"])))
    assert places == sorted(places)
    last = len(re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text))
    assert all(1 <= line <= last for line, _ in places)
    assert "\n" not in "".join(problems)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Return the example with a few pieces of it gone, moved, doubled, or replaced by trouble."""
    text = EXAMPLE
    for _ in range(draw(st.integers(min_value=1, max_value=4))):
        start = draw(st.integers(min_value=0, max_value=len(text)))
        end = draw(st.integers(min_value=start, max_value=min(start + 30, len(text))))
        new = draw(
            st.one_of(st.sampled_from(PIECES), st.text(max_size=5), st.just(text[start:end] * 2))
        )
        text = text[:start] + new + text[end:]
    return text


@st.composite
def rearranged(draw: st.DrawFn) -> str:
    """Return lines of the example, some left out, some twice, some indented otherwise."""
    lines = draw(st.lists(st.sampled_from(LINES), max_size=60))
    shifts = draw(st.lists(st.integers(min_value=-2, max_value=2), max_size=len(lines)))
    shifts += [0] * (len(lines) - len(shifts))
    return "".join(
        line[-shift:] if shift < 0 else " " * shift + line
        for line, shift in zip(lines, shifts, strict=True)
    )


@given(text=mutated())
def test_a_mutated_file_is_taken_or_refused_with_places(problems_of: Problems, text: str) -> None:
    check(problems_of(text.encode("utf-8", "surrogatepass")), text)


@given(text=rearranged())
def test_a_rearranged_file_is_taken_or_refused_with_places(
    problems_of: Problems, text: str
) -> None:
    check(problems_of(text), text)


@given(document=documents)
def test_any_document_is_taken_or_refused_with_places(problems_of: Problems, document: Any) -> None:
    text = yaml.safe_dump(document, allow_unicode=True)
    problems = problems_of(text)
    assert problems
    check(problems, text)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused(problems_of: Problems, content: bytes) -> None:
    problems = problems_of(content)
    assert problems
    check(problems, content.decode("latin-1"))


@given(data=st.data())
def test_a_removed_required_line_is_told_at_what_it_was_part_of(
    problems_of: Problems, data: st.DataObject
) -> None:
    required = [
        n for n, line in enumerate(LINES) if re.match(r" +(uri|slots|storage_pool|image):", line)
    ]
    number = data.draw(st.sampled_from(required))
    key = LINES[number].split(":")[0].strip()
    parent = max(n for n in range(number) if re.match(r"  [a-z]", LINES[n]))
    (problem,) = problems_of("".join(LINES[:number] + LINES[number + 1 :]))
    assert problem.startswith(f"{parent + 1}:3: ")
    assert f".{key}: missing; add `{key}: " in problem
