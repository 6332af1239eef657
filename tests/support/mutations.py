# SPDX-License-Identifier: GPL-2.0-only
"""Files as people, editors and broken disks leave them: what they should be, a little wrong.

Everything follows from a seed, so that a file which shows a mistake can be made again. What a file
must lead to is not known here.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import yaml

TROUBLE: tuple[bytes, ...] = (
    *(b"\t", b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\x85"),
    *(b"\x1b[2J", b"\x7f", "\u2028".encode(), "\u202e".encode(), "\U0001f600".encode()),
    *(b": ", b":", b"- ", b"[", b"]", b"{", b"}", b"'", b'"', b"|\n", b">-\n", b"#", b"%", b"@"),
    *(b"&a ", b"*a", b"<<: *a\n", b"!!python/object/apply:os.system ", b"!!binary ", b"? "),
    *(b"---\n", b"...\n", b"%YAML 1.1\n", b"%TAG ! x\n", b'"\\ud800"', b'"\\UFFFFFFFF"', b"\\"),
)

SCALARS: tuple[str, ...] = (
    *("~", "null", "true", "no", "0", "-1", "1", "10000", "10001", "1.0", "1e3", "1e999", ".inf"),
    *(".nan", "0x10", "0o7", "1_000", "1:30", "9" * 18, "9" * 19, "9" * 5000, "-" + "9" * 400),
    *("''", '"\\0"', '"\\e[2J"', '"\\n"', '"\\u202e"', "[]", "{}", "[[]]", "{a: b}", "[1, 2]"),
    *("512", "512MB", "512MiB", "-1GiB", "9999999TiB", "0.5GiB", "1EiB", "90", "90s", "25h", "-1s"),
    *("1e9h", "0s", "../../etc/passwd", "/dev/zero", "<xml/>", "&amp;", "$(id)", "%s", "{brief}"),
    *("test:///default", "qemu:///system", "qemu+ssh://x/system", "qemu://[::1", "http://x:99999/"),
    *("debian-12", "beta", "alpha", "fedora", "user", "destroy", "a" * 41, "a" * 70_000, "-", "A"),
)

_KEY = rb"(?<![\w-])[\w-]+(?=:)"

Edit = Callable[[random.Random, bytes], bytes]


def mutated(seed: int, originals: Sequence[bytes]) -> bytes:
    """Return one of the *originals* with one to three things wrong, the same for the same seed.

    Some edits change nothing that counts, such as a comment: the file is good then.
    """
    chance = random.Random(seed)
    content = chance.choice(originals)
    for _ in range(chance.choice((1, 1, 2, 3))):
        content = chance.choice(EDITS)(chance, content)
    return content


# Bytes.


def _flip(chance: random.Random, content: bytes) -> bytes:
    """Change one bit, as a disk does."""
    changed = bytearray(content or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(chance: random.Random, content: bytes) -> bytes:
    """End in the middle, as a full file system does."""
    return content[: chance.randrange(len(content) + 1)]


def _lose(chance: random.Random, content: bytes) -> bytes:
    start = chance.randrange(len(content) + 1)
    return content[:start] + content[start + chance.randint(1, 20) :]


def _insert(chance: random.Random, content: bytes) -> bytes:
    start = chance.randrange(len(content) + 1)
    return content[:start] + chance.choice(TROUBLE) + content[start:]


# Tokens.


def _replace_scalar(chance: random.Random, content: bytes) -> bytes:
    return _replaced(chance, content, rb"(?<=: )[^\s#]+", chance.choice(SCALARS).encode())


def _replace_key(chance: random.Random, content: bytes) -> bytes:
    keys = re.findall(_KEY, content) or [b"key"]
    new = chance.choice((chance.choice(keys), chance.choice(SCALARS).encode()))
    return _replaced(chance, content, _KEY, new)


def _misspell(chance: random.Random, content: bytes) -> bytes:
    """Swap two letters of a word."""
    words = list(re.finditer(rb"[a-z_]{3,}", content))
    if not words:
        return content
    start = chance.choice(words).start()
    return content[:start] + content[start : start + 2][::-1] + content[start + 2 :]


def _replaced(chance: random.Random, content: bytes, pattern: bytes, new: bytes) -> bytes:
    matches = list(re.finditer(pattern, content))
    if not matches:
        return content + new
    match = chance.choice(matches)
    return content[: match.start()] + new + content[match.end() :]


# Lines.


def _drop_line(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def _double_line(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    return b"".join(lines)


def _swap_lines(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _indent_line(chance: random.Random, content: bytes) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    number = chance.randrange(len(lines))
    how = chance.choice((b" ", b"  ", b"    ", b"\t", b""))
    lines[number] = how + (lines[number] if how else lines[number].lstrip())
    return b"".join(lines)


def _long_line(chance: random.Random, content: bytes) -> bytes:
    return _insert_line(chance, content, b"# " + b"long " * chance.choice((200, 4_000)))


def _nest(chance: random.Random, content: bytes) -> bytes:
    """Nest deeper than Python's own stack, or just a little too deep."""
    depth = chance.choice((5, 19, 20, 21, 22, 3_000))
    opening, closing = chance.choice(((b"[", b"]"), (b"{a: ", b"}"), (b"- ", b"")))
    return _insert_line(chance, content, b"deep: " + opening * depth + closing * depth)


def _anchor(chance: random.Random, content: bytes) -> bytes:
    """Let a few lines stand for a thousand million values."""
    lines = [
        b"a0: &a0 [x, x]",
        *(b"a%d: &a%d [*a%d, *a%d]" % (n, n, n - 1, n - 1) for n in range(1, 30)),
    ]
    return _insert_line(chance, content, b"\n".join(lines))


def _insert_line(chance: random.Random, content: bytes, line: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    lines.insert(chance.randrange(len(lines) + 1), line + b"\n")
    return b"".join(lines)


# Structure.


def _restructure(chance: random.Random, content: bytes) -> bytes:
    """Drop, move, double or replace values; what was no YAML stays as it is."""
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return content
    mappings = _mappings(document)
    if not mappings:
        return content
    for _ in range(chance.randint(1, 3)):
        _change(chance, chance.choice(mappings), chance.choice(mappings))
    try:
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    except (RecursionError, yaml.YAMLError, UnicodeEncodeError):
        return content


def _change(chance: random.Random, mapping: dict[Any, Any], other: dict[Any, Any]) -> None:
    if not mapping or not other:
        return
    key, source = chance.choice(list(mapping)), chance.choice(list(other))
    change = chance.randrange(5)
    if change == 0:
        del mapping[key]
    elif change == 1:
        mapping[key] = other[source]
    elif change == 2:
        mapping[key] = [mapping[key]]
    elif change == 3:
        mapping[chance.choice((source, 1, None, 1.5, True))] = mapping[key]
    else:
        mapping[key] = chance.choice(
            (None, True, -1, 0, 2.5, 10**30, "", "x", [], {}, [{}], [None])
        )


def _mappings(value: Any) -> list[dict[Any, Any]]:
    """Return all mappings in *value*, each once: aliases make a few values stand in many places."""
    seen: dict[int, Any] = {}
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict | list) and id(inner) not in seen:
            seen[id(inner)] = inner
            waiting += inner.values() if isinstance(inner, dict) else inner
    return [inner for inner in seen.values() if isinstance(inner, dict)]


EDITS: tuple[Edit, ...] = (
    *(_flip, _cut, _lose, _insert, _insert),
    *(_replace_scalar, _replace_scalar, _replace_scalar, _replace_key, _misspell),
    *(_drop_line, _double_line, _swap_lines, _indent_line, _long_line, _nest, _anchor),
    *(_restructure, _restructure, _restructure),
)
