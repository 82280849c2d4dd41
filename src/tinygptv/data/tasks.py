"""Instruction templates of the tasks, and what may be asked. ``{}`` stands for the content of a record's question.

Source: paper, appendix A and section 3.2; the authors' ``datasets/datasets/*.py`` and MiniGPT-4's ``alignment.txt``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from tinygptv.config import Task

_MARK = re.compile(r"\[(\w+)\]")
MAX_TEXT = 4000
"""Characters of a question or an answer."""
MAX_TURNS = 100
"""Questions of a record."""

TEMPLATES: dict[Task | str, tuple[str, ...]] = {
    "vqa": (
        "[vqa] {}",
        "[vqa] Based on the image, respond to this question with a short answer: {}",
    ),
    "caption": tuple(
        f"[caption] {text}"
        for text in (
            "Briefly describe this image.",
            "Provide a concise depiction of this image.",
            "Present a short description of this image.",
            "Summarize this image in a few words.",
            "A short image caption:",
            "A short image description:",
            "A photo of",
            "An image that shows",
            "Write a short description for the image.",
            "Write a description for the photo.",
            "Provide a description of what is presented in the photo.",
            "Briefly describe the content of the image.",
            "Can you briefly explain what you see in the image?",
            "Could you use a few words to describe what you perceive in the photo?",
            "Please provide a short depiction of the picture.",
            "Using language, provide a short account of the image.",
            "Use a few words to illustrate what is happening in the picture.",
        )
    ),
    "grounding": (
        "[grounding] please describe this image in details",
        "[grounding] please describe this image as detailed as possible",
        "[grounding] please summarize this image in details",
        "[grounding] give a thorough description of what you see in this image",
    ),
    "refer": (
        "[refer] give me the location of {}",
        "[refer] {}",
        "[refer] where is {} ?",
        "[refer] from this image, tell me the location of {}",
        "[refer] the location of {} is",
        "[refer] could you tell me the location for {} ?",
        "[refer] where can I locate the {} ?",
    ),
    "identify": (
        "[identify] {}",
        "[identify] what object is in this location {}",
        "[identify] identify the object present at this location {}",
        "[identify] what is it in {}",
        "[identify] describe this object in {}",
        "[identify] this {} is",
        "[identify] the object in {} is",
    ),
    "detection": ("[detection] {}",),
    "conversation": ("{}",),
    "align": (
        "Describe this image in detail.",
        "Take a look at this image and describe what you notice.",
        "Please provide a detailed description of the picture.",
        "Could you describe the contents of this image for me?",
    ),
}
"""Task to its templates. The first of each is the one that evaluation and ``answer`` use."""


def instruction(task: str, content: str, template: int = 0) -> str:
    """The instruction of a task about ``content``, with the template of that number, counted round."""
    templates = TEMPLATES[task]
    return templates[template % len(templates)].replace("{}", content)


def as_instruction(question: object) -> str:
    """A user's question as an instruction: those that name a task stay, the others are visual questions.

    Raises:
        DataError: it is no question; see ``check_question``.
    """
    text = check_question(question).strip()
    return text if text.startswith("[") else instruction("vqa", text)


def check_question(question: object, limit: int = MAX_TEXT) -> str:
    """What may be asked of a model, whichever way it comes: Unicode text that is not blank, of a bounded length.

    Raises:
        DataError: it is missing, no text, blank or too long.
    """
    if question is None:
        raise DataError("the question is missing; ask something")
    if not isinstance(question, str):
        raise DataError(f"the question must be text, not {type(question).__name__}")
    mark = _MARK.fullmatch(question.strip())
    if is_blank(question) or (mark is not None and takes_question(mark[1])):
        raise DataError("the question is empty; ask something")
    if len(question) > limit:
        raise DataError(f"the question has {len(question)} characters; the limit is {limit}")
    if any("\ud800" <= character <= "\udfff" for character in question):
        raise DataError("the question has half a character (a lone surrogate); send valid Unicode")
    return str(question)  # numpy has a subclass of its own


def is_blank(text: str) -> bool:
    """Whether there is nothing to see in a text: no characters, spaces or invisible ones."""
    return not any(character.isprintable() and character != " " for character in text)


def takes_question(task: str) -> bool:
    """Whether the task's instructions are about something, so that a record without a question asks nothing."""
    return any("{}" in template for template in TEMPLATES.get(task, ()))


def record_task(task: str) -> Task:
    """The records that a task of a mixture draws from: alignment asks for captions."""
    return "caption" if task == "align" else task  # type: ignore[return-value]
