"""Marks that mean something in a prompt, taken apart where a text of others has them.

A text can neither open an image slot nor begin or end a turn, whatever it says; nothing is refused for it.
"""

from __future__ import annotations

import re

IMAGE_MARK = "<ImageHere>"
BOS_MARK = "<|endoftext|>"
"""In text that ``data/prompts.py`` puts together: the BOS token, whatever a tokenizer calls it."""

_SIGN = re.compile(r"[^\w\s]")
_SIGN_AFTER_A_SIGN = re.compile(r"(?<=[^\w\s])[^\w\s]")


def defuse(text: str, end_mark: str) -> str:
    """Take apart the marks in a text of others, so that it can neither open an image slot nor begin or end a turn."""
    text = text.replace(IMAGE_MARK, "<Image Here>").replace(BOS_MARK, "< |endoftext|>")
    apart = " ".join(end_mark)
    while end_mark.strip() and end_mark not in apart and end_mark in text:  # `#####` holds `###` more than once
        text = text.replace(end_mark, apart)
    return text


def most_bytes(text: str) -> int:
    """UTF-8 bytes of a text once its marks are taken apart, at most, if the end mark has signs alone such as ``###``.

    A byte-level tokenizer makes no more tokens of it. Spaces come between signs that touch, and into image marks.
    """
    return len(text.encode()) + len(_SIGN_AFTER_A_SIGN.findall(text)) + text.count(IMAGE_MARK)


def growth(end_mark: str) -> int:
    """By what to multiply ``most_bytes`` for an end mark: one with letters, such as ``</s>``, may double a text."""
    return 1 if all(map(_SIGN.fullmatch, end_mark.strip())) else 2
