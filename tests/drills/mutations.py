"""Files with a fault in them: bytes that are flipped, cut, doubled or moved, and values of JSON that are others."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]
PIECES = (
    b"", b"\0", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\t", b"\xff", b"\xef\xbb\xbf",
    b"null", b"NaN", b"-1e999", b"true", b"\\ud800", b"<image>", b"../", b"/", b"http://", b'""', b"{}", b"[]",
    b"9" * 400, b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"\xe2\x80\xae", b"\xc3", b"\xff\xfe", b"\xff" * 8,
)  # fmt: skip
NESTED: list[Any] = []
for _ in range(400):
    NESTED = [NESTED]
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**400, 1.5, float("nan"), float("inf"), "", " ", "x" * 300, "\ud800", "\0", "../1.png",
    "1.png",
    "<image><image>", "###", [], {}, [None], [[]], [{}], {"a": None}, [1, 2], ["1.png"] * 3, "[",
    "\u202e", "a\nb\x1b[31m", -10**30, 1e308, "9" * 400, "{<101><1><2><3>}", NESTED,
)  # fmt: skip


def mutated(chance: random.Random, content: bytes) -> bytes:
    """The content with one to three faults; half of the time it stays JSON, where it is JSON."""
    of_values = (other_value, other_value, other_key)
    kinds = of_values if chance.random() < 0.5 else (flipped, cut, inserted, doubled, *of_values)
    for _ in range(chance.randint(1, 3)):
        content = chance.choice(kinds)(chance, content)
    return content


def flipped(chance: random.Random, content: bytes) -> bytes:
    """A byte is another."""
    if not content:
        return b"\0"
    place = chance.randrange(len(content))
    return content[:place] + bytes([chance.randrange(256)]) + content[place + 1 :]


def cut(chance: random.Random, content: bytes) -> bytes:
    """A piece is missing, at the end or within."""
    first, last = _span(chance, content)
    return content[:first] + (content[last:] if chance.random() < 0.7 else b"")


def inserted(chance: random.Random, content: bytes) -> bytes:
    """Signs that mean something stand where they should not."""
    place = chance.randint(0, len(content))
    return content[:place] + chance.choice(PIECES) + content[place:]


def doubled(chance: random.Random, content: bytes) -> bytes:
    """A piece stands twice, or at another place too."""
    first, last = _span(chance, content)
    place = chance.choice((last, chance.randint(0, len(content))))
    return content[:place] + content[first:last] + content[place:]


def other_value(chance: random.Random, content: bytes) -> bytes:
    """A value of JSON, or of one line of it, is another; of what is no JSON, a byte is."""
    return _edited(chance, content, lambda holder, key: holder.__setitem__(key, chance.choice(VALUES)))


def other_key(chance: random.Random, content: bytes) -> bytes:
    """A value of JSON is missing; of what is no JSON, a piece is."""
    return _edited(chance, content, lambda holder, key: holder.__delitem__(key))


def _edited(chance: random.Random, content: bytes, edit: Callable[[Any, Any], None]) -> bytes:
    lines = content.splitlines(keepends=True)
    at = chance.randrange(len(lines)) if lines else 0
    whole = len(lines) == 1 or content[:1] == b"["
    try:
        root = [json.loads(content if whole else lines[at])]
        holders = list(_holders(root))
        holder = chance.choice(holders)
        edit(holder, chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder))))
        text = json.dumps(root[0] if root else None).encode()
    except (ValueError, IndexError, RecursionError):
        return cut(chance, content)
    return text if whole else b"".join([*lines[:at], text + b"\n", *lines[at + 1 :]])


def with_odd(chance: random.Random, value: Any) -> Any:
    """A value with something odd in one place, or a key gone."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        rest = {name: one for name, one in value.items() if name != key}
        return rest if chance.random() < 0.2 else {**value, key: with_odd(chance, value[key])}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        return [*value[:place], with_odd(chance, value[place]), *value[place + 1 :]]
    return chance.choice((*VALUES, b"\xff", 1 << 70))


def _holders(value: Any) -> Any:
    """Every list and object that is not empty."""
    if isinstance(value, list | dict) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)


def _span(chance: random.Random, content: bytes) -> tuple[int, int]:
    first = chance.randint(0, len(content))
    return first, min(len(content), first + chance.choice((1, 3, 20, 200)))
