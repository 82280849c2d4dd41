"""The text of a profile that ``tinygptv new`` writes: every key, with comments where a user may want another value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tinygptv.ground.names import LAST_STAGE, STAGES

_WIDTH = 110
_PLAIN = re.compile(r"[A-Za-z_/][\w ./-]*[\w./-]|[A-Za-z]")
_WORDS = re.compile(r"true|false|null|yes|no|on|off|y|n", re.IGNORECASE)
"""What some reader of YAML takes for another thing than text."""


def text_of(content: Mapping[str, Any], head: Sequence[str], comments: Mapping[str, str]) -> str:
    """A profile as YAML. The last stage comes first, for the others are written by what they have otherwise.

    Args:
        content: section → its keys.
        head: lines of the comment above all.
        comments: section, or ``section.key``, to a comment: above the section, or behind the key.
    """
    lines = [f"# {line}" for line in head]
    others = [stage for stage in STAGES if stage != LAST_STAGE]
    order = [section for section in content if section not in others]
    order[order.index(LAST_STAGE) + 1 : order.index(LAST_STAGE) + 1] = others
    for section in order:
        value, comment = content[section], comments.get(section, "")
        if section not in others or comment:
            lines.append("")
        lines += [f"# {line}" for line in comment.splitlines()]
        if section in others:
            own = {key: of_key for key, of_key in value.items() if of_key != content[LAST_STAGE][key]}
            lines += _entry(section, {"<<": _Alias(LAST_STAGE), **own}, comments)
        else:
            begin, *more = _entry(section, value, comments, whole=section == LAST_STAGE)
            lines += [f"{begin} &{LAST_STAGE}" if section == LAST_STAGE else begin, *more]
    return "\n".join(lines) + "\n"


class _Alias(str):
    """The name of what is written elsewhere."""


def _entry(key: str, value: Any, comments: Mapping[str, str], above: str = "", *, whole: bool = False) -> Iterator[str]:
    """A key and its value: on one line where it fits and nothing in it has a comment."""
    name, indent = f"{above}{key}", "  " * above.count(".")
    told = any(place.startswith(f"{name}.") for place in comments)
    line = f"{indent}{_key(key)}: {_flow(value)}"
    deep = isinstance(value, Mapping) and any(isinstance(item, Mapping) for item in value.values())
    if not isinstance(value, Mapping) or (len(line) <= _WIDTH and not (told or whole or deep)):
        yield f"{line}  # {comments[name]}" if above and name in comments else line
        return
    yield f"{indent}{_key(key)}:"
    for inner, item in value.items():
        yield from _entry(inner, item, comments, f"{name}.")


def _key(key: str) -> str:
    return key if key == "<<" else _flow(key)


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)}: {_flow(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, _Alias):
        return f"*{value}"
    if isinstance(value, str):
        return (
            value if _PLAIN.fullmatch(value) and not _WORDS.fullmatch(value) else json.dumps(value, ensure_ascii=False)
        )
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _number(value: float) -> str:
    """As YAML has it, where a number without a dot may be text to a reader of its older version."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    mantissa, mark, power = repr(value).partition("e")
    return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}{mark}{power}"
