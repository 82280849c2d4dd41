"""What lmms-eval's requests ask: one image, a question, what was said before it, and how to answer.

The model sees one image and has no turn for a system. What cannot be asked of it is an error that names task and
document, never a question without its image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tinygptv.data.tasks import check_question
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

TEMPLATE = "[vqa] {}"
"""What a question without a mark such as ``[refer]`` becomes: how the model learned to be asked."""
AS_IT_IS = "{}"
"""The template of texts that are instructions already, as in the tasks that ``data.py`` writes."""
READ = ("max_new_tokens", "until", "template", "choices", "do_sample", "temperature", "num_beams")
"""Keys of a task's `generation_kwargs`; ``template`` and ``choices`` are this adapter's own."""
WITHOUT_EFFECT = ("top_p", "top_k", "image_aspect_ratio", "use_cache")
"""Keys that change nothing of a greedy answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a task wants its questions put and answered."""

    max_new_tokens: int | None
    """Longest answer; None: what the model's generation configuration says."""
    until: tuple[str, ...]
    """Texts that end an answer, beside the model's own end mark."""
    template: str
    """What becomes of a question."""
    choices: bool = False
    """Whether the likelihoods of a document's own ``choices`` are measured beside its answer."""

    @classmethod
    def read(cls, settings: Mapping[str, Any], where: str, template: str) -> Settings:
        """A task's `generation_kwargs`.

        Args:
            settings: as the request has them.
            where: what an error names.
            template: of the run; a task's own comes first.

        Raises:
            DataError: it asks for something else than greedy answers, or for something that is not known.
        """
        if unknown := [key for key in settings if key not in (*READ, *WITHOUT_EFFECT)]:
            raise DataError(f"{where}: generation_kwargs has {', '.join(unknown)}, which tinygptv does not know")
        sampled = settings.get("do_sample", bool(settings.get("temperature")))
        if sampled or (settings.get("num_beams") or 1) != 1:
            raise DataError(f"{where} wants no greedy answers; add --gen_kwargs do_sample=False,num_beams=1")
        until, limit = settings.get("until") or (), settings.get("max_new_tokens")
        return cls(
            max_new_tokens=None if limit is None else int(limit),
            until=tuple(filter(None, (until,) if isinstance(until, str) else until)),
            template=settings.get("template", template),
            choices=bool(settings.get("choices")),
        )

    def cut(self, text: str) -> str:
        """An answer up to the first of the texts that end it."""
        return text[: min((place for mark in self.until if (place := text.find(mark)) >= 0), default=len(text))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question about an image."""

    where: str
    """What an error names."""
    image: Image
    instruction: str
    earlier: tuple[tuple[str, str], ...] = ()
    """Instructions and answers of the same conversation before it."""
    choices: tuple[str, ...] = ()
    """Answers whose likelihood is measured beside the greedy one."""

    def answered(self, answer: str) -> Asked:
        """The conversation when the question is answered; the next one is not yet put."""
        return replace(self, instruction="", earlier=(*self.earlier, (self.instruction, answer)))


def from_text(text: str, images: Sequence[Any] | None, where: str, template: str, before: Asked | None = None) -> Asked:
    """A question in lmms-eval's simple form.

    Args:
        text: the question.
        images: its image.
        where: what an error names.
        template: what becomes of it.
        before: the conversation that it goes on with, if it has no image.

    Raises:
        DataError: it has not one image, or no question.
    """
    return _asked([_instruction(text, where, template)], [], images, where, before)


def from_messages(
    messages: Sequence[Mapping[str, Any]], where: str, template: str, before: Asked | None = None
) -> Asked:
    """A conversation in lmms-eval's chat form; what a system says stands before the first question.

    Args:
        messages: the turns.
        where: what an error names.
        template: what becomes of a question.
        before: the conversation that they go on with, if they have no image.

    Raises:
        DataError: there is not one image, there are other media, or the last turn is no question.
    """
    images, said, system = [], [], ""
    for message in messages:
        parts = message["content"]
        parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
        if others := sorted({part["type"] for part in parts} - {"text", "image"}):
            raise DataError(f"{where} has {', '.join(others)}; tinygptv sees one image")
        images += [part["url"] for part in parts if part["type"] == "image"]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        if message["role"] == "system":
            system += f"{text}\n"
        else:
            said.append((message["role"], system + text))
            system = ""
    roles, texts = [role for role, _ in said], [text for _, text in said]
    if roles != [*(len(roles) // 2) * ["user", "assistant"], "user"]:
        raise DataError(
            f"{where}: the turns are of {', '.join(roles)}; user and assistant in turn, user last, are asked"
        )
    asked = [_instruction(text, where, template) for text in texts[::2]]
    return _asked(asked, texts[1::2], images, where, before)


def _asked(
    instructions: Sequence[str], answers: Sequence[str], images: Sequence[Any] | None, where: str, before: Asked | None
) -> Asked:
    shown = [image for image in images or () if image is not None]
    if not shown and before is not None:
        shown, earlier = [before.image], before.earlier
    else:
        earlier = ()
    if len(shown) != 1:
        raise DataError(f"{where} has {len(shown)} images; tinygptv sees one")
    turns = tuple(zip(instructions[:-1], answers, strict=True))
    return Asked(where=where, image=shown[0], instruction=instructions[-1], earlier=(*earlier, *turns))


def _instruction(text: str, where: str, template: str) -> str:
    """A question as the model is asked it: one that names a task stays, the others go into the template.

    Raises:
        DataError: it is empty, too long, or no Unicode text.
    """
    if template == AS_IT_IS:
        return text
    try:
        question = check_question(text).strip()
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return question if question.startswith("[") else template.replace("{}", question)
