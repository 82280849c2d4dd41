"""A model as a Hugging Face folder: weights, processor, chat template, how to generate, and digests of all files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.ground.errors import CheckpointError

if TYPE_CHECKING:
    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration
    from tinygptv.model.processing import TinyGPTVProcessor


def longest_answer(processor: TinyGPTVProcessor, positions: int, wanted: int) -> int:
    """Tokens of an answer at most: as many as wanted, and of what an image leaves of the positions no more than half.

    Raises:
        CheckpointError: it leaves too little for a question and its answer.
    """
    limit = min(wanted, (positions - len(processor.encode_prompt(processor.prompt_of("")))) // 2)
    if limit < 1:
        raise CheckpointError(f"a model of {positions} positions has no room for an image, a question and an answer")
    return limit


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
