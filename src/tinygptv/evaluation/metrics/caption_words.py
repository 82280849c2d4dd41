"""The words of a caption, as COCO's scripts cut them: as in the Penn Treebank, in lower case, without most marks.

Theirs is a program in Java (Stanford's CoreNLP 3.4.1). This one has its rules for English as captions are written; of
other text, such as formulas, it may cut a little otherwise. What theirs gave is in the tests.
"""

from __future__ import annotations

import re

DROPPED = frozenset({"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"})
"""Marks that COCO's scripts leave out. Brackets they mean to, and do not: their names are in lower case by then."""
_ABBREVIATIONS = """
    adm|al|ala|apr|ariz|assn|asst|atty|aug|ave|bancorp|bldg|blvd|brig|bros|calif|capt|cf|cie|cmdr|co|col|colo|conn|corp|
    cpl|ct|dec|dept|det|dr|esq|est|etc|ext|feb|fla|fri|ft|ga|gen|gov|hon|inc|ind|insp|intl|jan|jos|jr|jul|jun|kan|ky|lt|
    ltd|maj|mar|md|messrs|mfg|mich|minn|mo|mon|mont|mr|mrs|ms|mt|natl|neb|nev|nov|oct|okla|penn|ph|plc|pres|prof|pvt|rd|
    rep|rev|sen|sep|sept|sgt|sq|sr|st|ste|supt|tel|tenn|thu|thurs|tue|tues|univ|va|vs|vt|wed|wis|wm|wyo
"""
"""Words whose full stop belongs to them."""
_APART = {
    **{"cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me"},
    **{"lemme": "lem me", "'tis": "'t is", "'twas": "'t was", "y'all": "y' all"},
}
_SAME = str.maketrans(
    {
        **{"\u2019": "'", "\u2018": "`", "\u201c": '"', "\u201d": '"', "\u2013": "--", "\u2014": "--", "\u2026": "..."},
        **{"\u00a3": "#", "\u20ac": "$", "\u00bd": "1/2", "\u00bc": "1/4", "\u00be": "3/4"},
    }
)
"""Quotation marks, dashes, pounds, euros, a half and quarters → what they are to theirs."""
_NAMES = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "¢": "cents"}
_TOKEN = re.compile(
    rf"""
    https?://[^\s"<>]*[^\s"<>.,;:!?)] | </?[^\W\d_][^<>]*> | \w[\w.+-]{{0,63}}@[\w-]+(?:\.[\w-]+)+  # addresses
    | (?:[^\W\d_]\.){{2,}}(?![^\W_]) | [^\W\d_]\.(?=\s+\S)  # u.s., a.m., an initial
    | (?:{_ABBREVIATIONS})\.(?![^\W_])
    | no\.(?=\s?\d)
    | cannot | gonna | gotta | wanna | gimme | lemme | 'tis | 'twas | y'all
    | '\d\ds?(?![^\W_]|") | 'n'                  # '90s, rock 'n' roll
    | [@\#][^\W\d_]\w*                           # names and tags
    | [+-]?\d+(?:[.,:/-]\d+)+ | [+-]\d+
    | [^\W_]+?(?=n't(?![^\W_])) | n't(?![^\W_])
    | '(?:s|m|d|re|ve|ll)(?![^\W_])
    | [^\W_]+(?:[-/.&_][^\W_]+|'(?!(?:s|m|d|re|ve|ll)(?![^\W_])|n'|\d)[^\W_]+)*
    | [?!]+ | -+ | \.\.\.+ | '' | \S
    """,
    re.VERBOSE,
)


def words(caption: str) -> list[str]:
    """The words of a caption in their order, without marks."""
    found = []
    for token in _TOKEN.findall(caption.translate(_SAME).lower()):
        found += _APART.get(token, _NAMES.get(token, token)).split()
    return [word for word in found if word not in DROPPED and not _is_mark(word)]


def _is_mark(word: str) -> bool:
    """Quotation marks, dashes and dots of any length, and pictures, which theirs cannot read."""
    return word == '"' or (len(set(word)) == 1 and word[0] in "-.") or word[0] in "\u200d\ufe0f" or word[0] > "\uffff"
