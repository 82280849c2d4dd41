"""BLIP's processing of captions, which the paper's authors use for captions, questions and short answers.

Source: the authors' ``blip_processors.py:49-68`` (``blip_caption``, from LAVIS). What it does to a text is part of the
recipe: "3.5" becomes "3 5".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygptv.data.records import Turn

MAX_WORDS = 50
_TO_SPACES = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))
_SPACES = re.compile(r"\s{2,}")


def blip_caption(text: str) -> str:
    """A text in lower case, ten characters replaced by spaces, runs of spaces made one, cut to ``MAX_WORDS``."""
    plain = _SPACES.sub(" ", text.lower().translate(_TO_SPACES)).rstrip("\n").strip(" ")
    return " ".join(plain.split(" ")[:MAX_WORDS])


def processed(turn: Turn, what: Collection[str]) -> Turn:
    """A turn with its question, its answer or both processed.

    Answers that become equal count together; wordings that do are drawn as often as before. Those of which nothing is
    left are none.
    """
    if "question" in what:
        wordings = tuple(filter(None, map(blip_caption, turn.wordings)))
        question = wordings[0] if wordings else blip_caption(turn.question)
        turn = replace(turn, question=question, wordings=wordings if len(wordings) > 1 else ())
    if "answer" in what:
        votes: dict[str, float] = {}
        for text, weight in turn.accepted:
            if plain := blip_caption(text):
                votes[plain] = votes.get(plain, 0.0) + weight
        answer = max(votes, key=votes.__getitem__) if votes else blip_caption(turn.answer)
        turn = replace(turn, answer=answer, accepted=tuple(votes.items()) if len(votes) > 1 else ())
    return turn
