"""Asking a trained model: images and questions in, texts out, in batches whose size does not change an answer.

Shapes: N images, C colours, H height, W width, Q queries, D width, B prompts, T tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tinygptv.data.images import ImageSource, read_image
from tinygptv.data.prompts import attended, check_room
from tinygptv.data.tasks import as_instruction
from tinygptv.ground import runtime
from tinygptv.ground.errors import UserError
from tinygptv.model.package import new_tokens, open_folder
from tinygptv.model.vision import encode_filled

if TYPE_CHECKING:
    from PIL.Image import Image

    from tinygptv.model.decoding.chorus import Chorus, Speech
    from tinygptv.model.decoding.decoder import Decoder, Seen
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor

BATCH_SIZE = 64
"""Of ``answer`` where the caller names none; a matter of speed only."""


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer, and how it came to its end."""

    text: str
    tokens: int
    """As they were generated, without the one that ended the answer."""
    cut: bool
    """The limit of tokens came before its end."""


class VisionLanguageModel:
    """A model with its processor, ready to answer."""

    def __init__(self, model: TinyGPTVForConditionalGeneration, processor: TinyGPTVProcessor) -> None:
        self.model = model.eval()
        self.processor = processor
        self._rendered = lru_cache(maxsize=4096)(self._render_prompt)

    @classmethod
    def from_folder(cls, folder: str | Path, device: str = "cpu") -> VisionLanguageModel:
        """Open a Hugging Face folder, quantized or not.

        Raises:
            UserError: the folder is incomplete or damaged, or the device does not exist.
        """
        return cls(*open_folder(Path(folder), runtime.resolve_device(device)))

    @cached_property
    def decoder(self) -> Decoder:
        """What goes over tokens and says the next ones."""
        from tinygptv.model.decoding.decoder import Decoder

        return Decoder(self.model)

    @property
    def positions(self) -> int:
        """Tokens of prompt and answer together at most; beyond them the language model was never trained."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @property
    def max_new_tokens(self) -> int:
        """Tokens of an answer at most, where the caller names no number."""
        return new_tokens(self.model)

    def answer(
        self,
        images: Sequence[ImageSource],
        questions: Sequence[str],
        batch_size: int = BATCH_SIZE,
    ) -> list[str]:
        """Answer one question about one image each.

        Args:
            images: whatever ``data/images.py`` reads: paths, file contents, streams, PIL images, arrays; the same
                image may come several times.
            questions: free text, or an instruction that begins with a task mark such as ``[refer]``.
            batch_size: questions of a forward pass; it changes the speed, not the answers.

        Returns:
            One text for each question.

        Raises:
            ImageError: an image is missing, damaged or of a format that is not read.
            DataError: a question is missing, empty or too long for the model.
            UserError: the two lists differ in length.
            NotFiniteError: the model computes infinities or NaN.
        """
        if len(images) != len(questions):
            raise UserError(f"{len(images)} images and {len(questions)} questions; give one image for each question")
        prompts = [self.prompt(question) for question in questions]
        names = [identity(image) for image in images]
        pictures = {name: self.picture(image) for name, image in dict(zip(names, images, strict=True)).items()}
        return self.ask([pictures[name] for name in names], prompts, batch_size)

    def ask(self, pictures: Sequence[Image], prompts: Sequence[str], batch_size: int = BATCH_SIZE) -> list[str]:
        """Answers to what ``picture`` and ``prompt`` have prepared; a picture that comes again is encoded once."""
        if not prompts:
            return []
        unique = {id(picture): picture for picture in pictures}
        places = {name: place for place, name in enumerate(unique)}
        features_NQD = self.encode_images(list(unique.values()), batch_size)
        answers = self.generate(
            features_NQD[[places[id(picture)] for picture in pictures]], prompts, batch_size=batch_size
        )
        return [answer.text for answer in answers]

    def prompt(self, question: object) -> str:
        """A question in the form that the model was trained with.

        Raises:
            DataError: it is no question, or leaves no room for its answer.
        """
        return self._rendered(as_instruction(question), True)

    def picture(self, image: ImageSource) -> Image:
        """An image at the model's own size, as the image processor would make it: a thousand of them fit into memory.

        Raises:
            ImageError: it is missing, damaged or of a format that is not read.
        """
        processor = self.processor.image_processor
        return read_image(image).resize((processor.size["width"], processor.size["height"]), processor.resample)

    def encode_images(
        self, images: Sequence[Image], batch_size: int = BATCH_SIZE, *, filled: bool = False
    ) -> torch.Tensor:
        """Q-Former outputs of images [N, Q, D].

        Args:
            images: as ``picture`` gives them, or larger.
            batch_size: images of a forward pass.
            filled: a smaller last batch is filled up, so that every image is computed at one shape and neither its
                neighbours nor their count change a bit.
        """
        parts = []
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            pixels_NCHW = self.processor.image_processor(batch, return_tensors="pt")["pixel_values"]
            shape = batch_size if filled else len(batch)
            parts.append(encode_filled(self.model.image_encoder, pixels_NCHW, shape))
        return torch.cat(parts)

    def generate(
        self,
        features_BQD: torch.Tensor,
        prompts: Sequence[str | list[int]],
        *,
        batch_size: int = BATCH_SIZE,
        max_new_tokens: int | None = None,
    ) -> list[Generated]:
        """Greedy answers to prompts with one image mark each, cut at the end mark.

        Args:
            features_BQD: Q-Former outputs of each prompt's image.
            prompts: texts as the chat template gives them, or token ids of ``processor.encode_prompt``.
            batch_size: prompts of a forward pass.
            max_new_tokens: longest answer; None: what the model's generation configuration says.

        Raises:
            UserError: a prompt leaves no room for its answer; nothing was answered.
            NotFiniteError: the model computes infinities or NaN.
        """
        answers: list[Generated] = []
        limit = max_new_tokens if max_new_tokens is not None else self.max_new_tokens
        ids = [self.processor.encode_prompt(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        check_room(max(map(len, ids), default=0), limit, self.positions)
        with torch.no_grad():
            for start in range(0, len(ids), batch_size):
                part = ids[start : start + batch_size]
                seen = self._read(part, features_BQD[start : start + batch_size])
                said = self.decoder.generate(seen, [self.processor.end_ids] * len(part), limit)
                answers.extend(map(self.generated, said))
        return answers

    def generated(self, said: Speech) -> Generated:
        """An answer as text."""
        return Generated(self.processor.decode_answer(said.ids), len(said.ids), cut=said.cut)

    def chorus(self) -> Chorus:
        """Where answers may ``join``; for one thread."""
        from tinygptv.model.decoding.chorus import Chorus

        return Chorus(self.decoder)

    def speech(self, limit: int, on_text: Callable[[str], None] | None = None) -> Speech:
        """An answer that is to ``join`` others.

        Args:
            limit: its tokens at most, end included.
            on_text: is told its beginning, in whole characters, whenever that grows.
        """
        from tinygptv.model.decoding.chorus import Speech

        speech, longest = Speech(self.processor.end_ids, limit), 0

        def spell(_: int) -> None:
            nonlocal longest
            text = self.processor.decode_answer(speech.ids)
            if on_text is not None and len(text) > longest:
                longest = len(text)
                on_text(text)

        speech.on_token = on_text and spell
        return speech

    def join(
        self, chorus: Chorus, features_BQD: torch.Tensor, prompts: Sequence[str], speeches: Sequence[Speech]
    ) -> None:
        """Begin answers, which are said beside those under way.

        Args:
            chorus: one of this model.
            features_BQD: Q-Former outputs of each prompt's image.
            prompts: texts as the chat template gives them, with room for their answers.
            speeches: the answer of each, as ``speech`` gives it.
        """
        with torch.no_grad():
            chorus.join(self._read([self.processor.encode_prompt(text) for text in prompts], features_BQD), speeches)

    def _read(self, prompts: Sequence[list[int]], features_BQD: torch.Tensor) -> Seen:
        """Prompts with their images, gone over."""
        rows_TD = self.decoder.embed(prompts, self.model.projector(features_BQD))
        pad = self.processor.tokenizer.pad_token_id
        return self.decoder.read(rows_TD, masks=[attended(ids, pad) for ids in prompts])

    def _render_prompt(self, instruction: str, first: bool) -> str:
        prompt = self.processor.prompt_of(instruction, image=first)
        if first:
            check_room(len(self.processor.encode_prompt(prompt)), self.max_new_tokens, self.positions)
        return prompt


def identity(image: ImageSource) -> str:
    """A name that equal sources share, so that an image is encoded once however many questions it gets."""
    if isinstance(image, str | Path):
        return f"path {image}"
    if isinstance(image, bytes):
        return f"bytes {hashlib.sha256(image).hexdigest()}"
    return f"object {id(image)}"
