"""A model as a Hugging Face folder: weights, processor, chat template and how to generate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor


def write_folder(
    model: TinyGPTVForConditionalGeneration, processor: TinyGPTVProcessor, folder: Path, *, max_new_tokens: int
) -> None:
    """Write all that ``AutoModelForImageTextToText``, ``AutoProcessor`` and ``tinygptv.load`` need.

    Args:
        model: without adapters, quantized or not.
        processor: of the prompt that it was trained with; its end mark ends an answer.
        folder: where to write.
        max_new_tokens: longest answer.
    """
    from transformers import GenerationConfig

    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=processor.end_ids,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
