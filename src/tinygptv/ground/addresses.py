"""What is secret in an address: user and password in front of its host, tokens and signatures in its query.

Whoever opens an address needs them, and nobody who reads one. Libraries quote addresses in their errors, so texts are
cleaned where they leave: ``UserError``, the spool, a flow's lines, tracebacks and log records (``startup.py``).
"""

from __future__ import annotations

import re
from urllib.parse import unquote

HIDDEN = "***"
_SCHEME = r"(?<![\w+.-])(?P<scheme>[A-Za-z][\w+.-]{0,63}:(?:\\?/){2})"
_HOST = r"[^\s/?#\"'<>:@]{0,300}+(?!@)(?::\d{0,5}+(?![\w@%+~-])|(?!:))"
_USER = re.compile(
    # up to the last @ before the path; where what follows the colon is no port, slashes and spaces are the password's
    rf"{_SCHEME}(?:(?P<user>[^\s/?#\"'<>]{{0,2000}})@"
    rf"|(?!{_HOST})(?P<odd>[^\s/?#\"'<>:@\[]{{0,300}}:[^\n\"'<>]{{0,2000}})@)"
)
_BARE = re.compile(r"(?<![\w/@])[^\s:/@\"'<>(\[]{1,300}:[^\s:/@\"'<>]{1,2000}@(?=[\w.-])")
"""``user:password@host`` without a scheme, as parsers quote the middle of an address."""
_WORD = r"(?:pass(?:word|wd|phrase)|pwd|token|secret|signature|credentials?|(?:api|access|secret)[_-]?key(?:[_-]?id)?)"
_NAMED = re.compile(
    rf"(?P<name>(?<![A-Za-z0-9])[\w.-]{{0,64}}?{_WORD}(?:=|[\"']\s?:\s?)"
    rf"|[?&;](?:[\w.-]{{0,64}}[_-])?(?:key|sig|auth|jwt|code|pass)=)"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s&;,\"'<>)\]}]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"(authorization[\"']?\s?[:=]\s?[\"']?(?:basic|bearer|token)\s)[^\s\"',]+", re.IGNORECASE)
_RULES = (
    (_USER, r"\g<scheme>"),
    (_BARE, ""),
    (_NAMED, rf"\g<name>{HIDDEN}"),
    (_HEADER, rf"\g<1>{HIDDEN}"),
)


def without_secrets(text: str) -> str:
    """A text as anybody may read it: addresses without users, ``***`` for tokens. Links still lead to their pages."""
    for pattern, shown in _RULES:
        text = pattern.sub(shown, text)
    return text


def split_user(address: str) -> tuple[str, str, str]:
    """An address without its user, the user and the password; empty where it has none.

    For libraries that take user and password beside the address, and would show them in it.
    """
    found = _USER.match(address)
    if found is None:
        return address, "", ""
    user, _, password = (found["user"] or found["odd"] or "").partition(":")
    return f"{found['scheme']}{address[found.end() :]}", unquote(user), unquote(password)
