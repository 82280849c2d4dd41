"""LLM.int8() of the language model, as a Hugging Face folder that reloads bit for bit.

Image encoder, projection, embeddings and head stay as they are: 8 bits hold the matrices of the blocks.
Source: bitsandbytes' ``Linear8bitLt`` through transformers' quantization configuration.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tinygptv.model.adapters import has_lora
from tinygptv.runtime import quiet_libraries

if TYPE_CHECKING:
    from tinygptv.model.inference import VisionLanguageModel

SKIPPED = ["image_encoder", "projector", "lm_head"]


def save_quantized(model: VisionLanguageModel, folder: Path, *, outlier_threshold: float, max_new_tokens: int) -> int:
    """Write weights, processor, chat template and generation configuration.

    Args:
        model: merged, in full precision.
        folder: where to write.
        outlier_threshold: activations above it are multiplied in 16 bits (6 in the paper of LLM.int8(), 0: none).
        max_new_tokens: of the generation configuration.

    Returns:
        Bytes of the unquantized weights.
    """
    from transformers import BitsAndBytesConfig, GenerationConfig

    from tinygptv.model.modeling import TinyGPTVForConditionalGeneration

    assert not has_lora(model.model), "merge the adapters in full precision first"
    quiet_libraries()
    end_ids = [model.processor.end_mark_id, model.processor.tokenizer.eos_token_id]
    settings = BitsAndBytesConfig(
        load_in_8bit=True, llm_int8_threshold=outlier_threshold, llm_int8_skip_modules=SKIPPED
    )
    with tempfile.TemporaryDirectory(dir=folder.parent) as whole:
        model.model.save_pretrained(whole)
        size = (Path(whole) / "model.safetensors").stat().st_size
        quantized = TinyGPTVForConditionalGeneration.from_pretrained(
            whole, quantization_config=settings, device_map={"": "cpu"}
        )
    quantized.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        bos_token_id=model.processor.tokenizer.bos_token_id,
        eos_token_id=end_ids,
        pad_token_id=model.processor.tokenizer.pad_token_id,
    )
    quantized.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    return size
