"""Images and text to the model's inputs, and its tokens back to text.

Shapes: B texts, T tokens, N images, C colours, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import BatchFeature, PreTrainedTokenizerFast, ProcessorMixin

from tinygptv.data import prompts
from tinygptv.data.data_urls import from_base64, from_data_url, is_data_url
from tinygptv.data.marks import BOS_MARK, IMAGE_MARK, defuse
from tinygptv.ground.digests import SealedFolder
from tinygptv.ground.errors import CheckpointError
from tinygptv.ground.file_names import TOKENIZER
from tinygptv.ground.files import read_json

if TYPE_CHECKING:
    import torch
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    from tinygptv.config import Prompt


class TinyGPTVProcessor(SealedFolder, ProcessorMixin):
    """Tokenizer, image processor, chat template and what they need to agree with the weights."""

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        num_query_tokens: int = 32,
        image_token_id: int = 51200,
        end_mark: str = "###",
        bos_at_inference: bool = False,
        bos_between_turns: bool = False,
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_query_tokens = num_query_tokens
        self.image_token_id = image_token_id
        self.end_mark = end_mark
        self.bos_at_inference = bos_at_inference
        self.bos_between_turns = bos_between_turns
        tokenizer.padding_side = "left"  # answers grow on the right
        self.end_mark_id = prompts.end_mark_id(tokenizer, end_mark)
        super().__init__(image_processor, tokenizer, chat_template=chat_template, **kwargs)

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end an answer: the end mark, and the end of all text."""
        return [self.end_mark_id, self.tokenizer.eos_token_id]

    @property
    def model_input_names(self) -> list[str]:
        """What the model's forward takes from here."""
        return ["input_ids", "attention_mask", "pixel_values"]

    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Encode prompts and images.

        Args:
            images: one image or a list, in the order of the marks ``<ImageHere>`` in the texts: whatever
                ``data/images.py`` reads, data URLs, base 64 and addresses, which transformers fetches.
            text: one prompt or a list, as ``apply_chat_template`` gives them.
            return_tensors: ``"pt"``.
            kwargs: ``size`` overrides the images' resolution; padding is always on, on the left.

        Returns:
            ``input_ids`` and ``attention_mask`` [B, T], ``pixel_values`` [N, C, H, W].

        Raises:
            ValueError: the count of images is not that of the marks.
        """
        features: dict[str, Any] = {}
        if images is not None:
            size = {"size": kwargs["size"]} if "size" in kwargs else {}
            features |= self.image_processor(self._seen(images), return_tensors=return_tensors, **size)
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            marks = sum(t.count(IMAGE_MARK) for t in texts)
            given = len(features["pixel_values"]) if images is not None else 0
            if marks != given and images is not None:
                raise ValueError(f"the texts have {marks} places for images ({IMAGE_MARK}), {given} were given")
            features |= self.pad([self.encode_prompt(t) for t in texts], return_tensors)
        return BatchFeature(features)

    def pad(self, prompt_ids: Sequence[list[int]], return_tensors: str | None = "pt") -> BatchFeature:
        """Prompts as ``input_ids`` and ``attention_mask`` [B, T], padded on the left."""
        masks = [prompts.attended(ids, self.tokenizer.pad_token_id) for ids in prompt_ids]
        inputs = {"input_ids": list(prompt_ids), "attention_mask": masks}
        padded = self.tokenizer.pad(inputs, padding=True, return_tensors=return_tensors)
        return BatchFeature(padded)

    def _seen(self, images: Any) -> Any:
        """Pictures and files as ``tinygptv.load(...).answer`` sees them; tensors and arrays are pixels already."""
        from PIL.Image import Image  # a machine that only trains on cached features may lack Pillow

        from tinygptv.data.images import read_image

        if isinstance(images, list | tuple):
            return [self._seen(image) for image in images]
        if isinstance(images, str) and images.startswith(("http://", "https://")):
            return read_image(self.image_processor.fetch_images(images))
        if isinstance(images, str) and not os.path.isfile(images):  # noqa: PTH113 - base 64 is too long for a Path
            with suppress(ValueError):
                return read_image(from_data_url(images) if is_data_url(images) else from_base64(images))
        return read_image(images) if isinstance(images, Image | bytes | str | Path) else images

    def encode_prompt(
        self,
        text: str,
        earlier: Sequence[tuple[str, str]] = (),
        *,
        end_mark: str | None = None,
        bos: bool | None = None,
        max_answer_tokens: int | None = None,
    ) -> list[int]:
        """Token ids of a prompt with image slots, without padding.

        Args:
            text: the prompt.
            earlier: prompts and answers of the same conversation before it; the first one has the image.
            end_mark: what ends an answer; None: that of the weights' own prompt.
            bos: whether a prompt begins with the BOS token; None: as that of the weights does.
            max_answer_tokens: earlier answers are cut to so many; None: they are whole.
        """
        return prompts.encode_question(
            self.tokenizer,
            text,
            earlier=earlier,
            image_token_id=self.image_token_id,
            slots=self.num_query_tokens,
            bos=self.bos_at_inference if bos is None else bos,
            end_mark=self.end_mark if end_mark is None else end_mark,
            max_answer_tokens=max_answer_tokens,
        )

    def prompt_of(self, instruction: str, *, image: bool = True) -> str:
        """The prompt of one question: about an image, or a later one of the same conversation."""
        content = [{"type": "image"}] * image + [{"type": "text", "text": instruction}]
        text = str(self.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True))
        return text if image or not self.bos_between_turns else BOS_MARK + text

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        """Render messages, after taking apart marks that a user wrote into them."""
        batched = bool(conversation) and isinstance(conversation[0], list | tuple)
        chats = conversation if batched else [conversation]
        safe = [[self._defuse(message) for message in chat] for chat in chats]
        return super().apply_chat_template(safe if batched else safe[0], *args, **kwargs)

    def _defuse(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message["content"]
        if isinstance(content, str):
            return message | {"content": defuse(content, self.end_mark)}
        parts = [
            part | {"text": defuse(part["text"], self.end_mark)} if part.get("type") == "text" else part
            for part in content
        ]
        return message | {"content": parts}

    def decode_answers(self, new_ids_BT: torch.Tensor) -> list[str]:
        """Texts of generated tokens, each cut at its end mark, or at its last whole character."""
        answers = []
        for ids in new_ids_BT.tolist():
            end = ids.index(self.end_mark_id) if self.end_mark_id in ids else len(ids)
            answers.append(self.decode_answer(ids[:end]))
        return answers

    def decode_answer(self, ids: Sequence[int]) -> str:
        """Text of an answer's tokens, without its end, up to its last whole character."""
        whole = prompts.whole_characters(self.tokenizer, ids)
        return str(self.tokenizer.decode(whole, skip_special_tokens=True)).strip()

    def post_process_image_text_to_text(self, generated_outputs: torch.Tensor, **kwargs: Any) -> list[str]:
        """Texts for transformers' ``image-text-to-text`` pipeline, without the end mark that closes an answer.

        It asks for prompts alone and for prompts with their answers, and takes the one from the other: a mark inside,
        such as that of ``###Human:``, must not cut a text.
        """
        texts = []
        for ids in generated_outputs.tolist():
            while ids and ids[-1] == self.tokenizer.pad_token_id:
                ids.pop()
            if ids and ids[-1] == self.end_mark_id:
                ids.pop()
            whole = prompts.whole_characters(self.tokenizer, ids)
            texts.append(self.tokenizer.decode(whole, skip_special_tokens=True))
        return texts


def build_processor(
    tokenizer: PreTrainedTokenizerFast, prompt: Prompt, *, image_size: int, num_query_tokens: int, vocab_size: int
) -> TinyGPTVProcessor:
    """A processor for weights trained with ``prompt`` at ``image_size`` pixels.

    Raises:
        CheckpointError: the tokenizer has more tokens than the model has embeddings.
    """
    check_vocabulary(tokenizer, vocab_size)
    return TinyGPTVProcessor(
        image_processor=build_image_processor(image_size),
        tokenizer=tokenizer,
        num_query_tokens=num_query_tokens,
        image_token_id=vocab_size,
        end_mark=prompt.end_mark,
        bos_at_inference=prompt.bos_at_inference,
        bos_between_turns=prompt.bos_between_turns,
        chat_template=prompts.chat_template(prompt),
    )


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> None:
    """Ids beyond the embeddings must not be: the first of them is the image slot's.

    Raises:
        CheckpointError: the tokenizer has more tokens than the model has embeddings.
    """
    if len(tokenizer) > vocab_size:
        raise CheckpointError(
            f"the tokenizer has {len(tokenizer)} tokens, the model {vocab_size} embeddings: it belongs to other weights"
        )


def build_image_processor(image_size: int) -> BlipImageProcessorPil:
    """Resize to a square without keeping the aspect ratio (bicubic), CLIP's mean and deviation, no augmentation.

    Source: the authors' ``blip_processors.py``.
    """
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil  # needs Pillow

    return BlipImageProcessorPil(size={"height": image_size, "width": image_size})


def read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder.

    Raises:
        CheckpointError: the folder has none.
        DataError: it is not JSON.
    """
    if not (folder / TOKENIZER).is_file():
        raise CheckpointError(f"{folder / TOKENIZER} is missing; the folder is no complete model")
    read_json(folder / TOKENIZER)  # tokenizers would end in a traceback
    return PreTrainedTokenizerFast.from_pretrained(folder)
