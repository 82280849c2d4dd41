"""From an instruction and an answer to token ids: the one place for training, evaluation and the processor.

An image slot can only come from ``IMAGE_MARK`` in text that this module itself puts together, and a BOS token before a
later question from ``BOS_MARK``: marks inside a user's text are taken apart first, and special tokens in it are read as
plain characters.

Source: the authors' ``minigpt_base.py`` (prompt_wrap, tokenize_conversation, forward).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinygptv.data.marks import BOS_MARK, IMAGE_MARK, defuse
from tinygptv.ground.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tinygptv.config import Prompt
    from tinygptv.data.index import ImagePlace

TEXT_START = "\u2581"
"""The token that SentencePiece puts before a text which does not begin with a known word."""
UNFINISHED = "\ufffd"
"""What a tokenizer makes of bytes that are no whole character."""
IGNORE_INDEX = -100
"""Label of a token that carries no loss (torch's cross-entropy default)."""
WRAPPED_IMAGE = f"<Img>{IMAGE_MARK}</Img> "
_MARKS = re.compile(f"({re.escape(IMAGE_MARK)}|{re.escape(BOS_MARK)})")


@dataclass(frozen=True, slots=True)
class Example:
    """One sample before padding."""

    record_id: str
    image: ImagePlace | None
    """None: a text without an image."""
    input_ids: list[int]
    labels: list[int]
    cut_answers: int
    """Answers longer than ``max_answer_tokens``, or than what the sequence leaves for the first one."""
    left_out_turns: int
    """Later turns for which the sequence has no room."""


def prompt_text(prompt: Prompt, instruction: str) -> str:
    """The text before the answer, with ``IMAGE_MARK`` where the image goes.

    Without a template there is no prompt: the image alone, as in stages 1 and 2 of the paper.
    """
    if not prompt.template:
        return IMAGE_MARK
    return prompt.template.replace("{}", WRAPPED_IMAGE + defuse(instruction, prompt.end_mark))


def next_turn_text(prompt: Prompt, instruction: str) -> str:
    """A later question of the same conversation: the image is there already."""
    return (BOS_MARK if prompt.bos_between_turns else "") + _bare_text(prompt, instruction)


def turn_text(prompt: Prompt, instruction: str, *, first: bool, pictured: bool = True) -> str:
    """The text before an answer of a conversation, which may be about no image."""
    if not first:
        return next_turn_text(prompt, instruction)
    return prompt_text(prompt, instruction) if pictured else _bare_text(prompt, instruction)


def _bare_text(prompt: Prompt, instruction: str) -> str:
    return prompt.template.replace("{}", defuse(instruction, prompt.end_mark))


def chat_template(prompt: Prompt) -> str:
    """The same prompt as a Jinja chat template, for ``processor.apply_chat_template``."""
    head, _, tail = prompt.template.partition("{}")
    image = WRAPPED_IMAGE if prompt.template else IMAGE_MARK
    bos = ""
    if prompt.bos_between_turns:
        later = "loop.index0 > 0 and messages[loop.index0 - 1]['role'] == 'assistant'"
        bos = f"{{%- if {later} -%}}{{{{- {BOS_MARK!r} -}}}}{{%- endif -%}}"
    return (
        "{%- macro parts(message) -%}"
        "{%- if message['content'] is string -%}{{- message['content'] -}}{%- else -%}"
        "{%- for part in message['content'] -%}"
        f"{{%- if part['type'] == 'image' -%}}{{{{- {image!r} -}}}}"
        "{%- else -%}{{- part['text'] -}}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}{%- endmacro -%}"
        "{%- for message in messages -%}"
        f"{{%- if message['role'] == 'assistant' -%}}{{{{- parts(message) -}}}}{{{{- {prompt.end_mark!r} -}}}}"
        f"{{%- else -%}}{bos}{{{{- {head!r} -}}}}{{{{- parts(message) -}}}}{{{{- {tail!r} -}}}}{{%- endif -%}}"
        "{%- endfor -%}"
    )


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase, text: str, *, image_token_id: int, slots: int, bos: bool
) -> list[int]:
    """Token ids of a prompt; every ``IMAGE_MARK`` becomes ``slots`` image slots, every ``BOS_MARK`` the BOS token.

    The text on both sides of a mark is tokenised separately, as the authors do.
    """
    marks = {IMAGE_MARK: [image_token_id] * slots, BOS_MARK: [tokenizer.bos_token_id]}
    ids = [tokenizer.bos_token_id] if bos else []
    for part in _MARKS.split(text):
        ids += marks[part] if part in marks else encode_text(tokenizer, part)
    return ids


def attended(ids: Sequence[int], pad_token_id: int) -> list[int]:
    """Of the tokens of a sequence: 1, or 0 for the padding's token inside it, to which no token attends.

    The authors' mask is "not the padding". Phi's padding is also its BOS token: the one before a later question has a
    position and nothing else, so that all it does is to move what follows by one; at the beginning of a sequence it is
    attended to. Llama's BOS token is another than its padding, and is attended to everywhere.
    """
    return [int(place == 0 or token != pad_token_id) for place, token in enumerate(ids)]


def encode_question(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    earlier: Sequence[tuple[str, str]],
    image_token_id: int,
    slots: int,
    bos: bool,
    end_mark: str,
    max_answer_tokens: int | None,
) -> list[int]:
    """Token ids of a question after the questions and answers before it: the beginning of what a stage trains.

    Every text is tokenised by itself, as in ``data/batches.py``: as one text, an end mark and the prompt after it
    could become other tokens.

    Args:
        tokenizer: the tokenizer.
        text: of the question, as ``turn_text`` gives it.
        earlier: texts and answers of the questions before it.
        image_token_id: of the image slots.
        slots: image slots of an image.
        bos: whether the conversation begins with the BOS token.
        end_mark: the text that ends an answer.
        max_answer_tokens: earlier answers are cut to so many, as they were in training; None: they are whole.
    """
    ids: list[int] = []
    for asked, answer in earlier:
        ids += encode_prompt(tokenizer, asked, image_token_id=image_token_id, slots=slots, bos=bos and not ids)
        answer_ids = encode_answer(tokenizer, answer, end_mark)
        ids += end_answer(tokenizer, answer_ids, end_id=end_mark_id(tokenizer, end_mark), max_tokens=max_answer_tokens)
    return ids + encode_prompt(tokenizer, text, image_token_id=image_token_id, slots=slots, bos=bos and not ids)


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of plain text; a special token written in it is characters, not the token."""
    if not text:
        return []
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str, end_mark: str) -> list[int]:
    """Token ids of an answer, without the end mark: one that is written in it is taken apart."""
    return encode_text(tokenizer, defuse(answer, end_mark))


def end_answer(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], *, end_id: int, max_tokens: int | None
) -> list[int]:
    """An answer's token ids with the end mark, cut to ``max_tokens`` together; None: not cut.

    The authors append the mark before they cut, so that a long answer loses it; here it is always learned.
    """
    if max_tokens is None or len(ids) < max_tokens:
        return [*ids, end_id]
    return [*whole_characters(tokenizer, ids[: max_tokens - 1]), end_id]


def whole_characters(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[int]:
    """Token ids without those at the end that begin a character and do not finish it: a token may be a single byte."""
    whole = list(ids)
    while whole and tokenizer.decode(whole, clean_up_tokenization_spaces=False).endswith(UNFINISHED):
        whole.pop()
    return whole


def check_room(tokens: int, answer: int, positions: int) -> None:
    """Check that a prompt of so many tokens and the longest answer fit a model's positions.

    Raises:
        DataError: they do not.
    """
    if tokens + answer > positions:
        raise DataError(
            f"the question makes a prompt of {tokens} tokens; with an answer of up to {answer} that is more than the "
            f"model's {positions}; ask in fewer words"
        )


def end_mark_id(tokenizer: PreTrainedTokenizerBase, end_mark: str) -> int:
    """The one token of the end mark, at which generation stops.

    Llama's tokenizer begins every text with a mark of its own; where that is a token beside the end mark (``\\n``), it
    is none of an answer's end.

    Raises:
        DataError: the tokenizer cuts the mark into several tokens.
    """
    ids = encode_text(tokenizer, end_mark)
    if len(ids) == 2 and tokenizer.convert_ids_to_tokens(ids[0]) == TEXT_START:
        ids = ids[1:]
    if len(ids) != 1:
        raise DataError(f"the end mark {end_mark!r} is {len(ids)} tokens here; choose one that is a single token")
    return ids[0]
