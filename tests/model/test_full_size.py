"""The sizes of the paper, counted without memory for the weights."""

from __future__ import annotations

import pytest
import torch
from transformers import Blip2QFormerConfig, Blip2VisionConfig

from tinygptv.config import Lora
from tinygptv.model import TinyGPTVConfig, TinyGPTVForConditionalGeneration, TinyGPTVTextConfig
from tinygptv.model.adapters import add_lora, freeze

PAPER_LORA = Lora(rank=64, alpha=16, dropout=0.05)


def paper_model() -> TinyGPTVForConditionalGeneration:
    """EVA-CLIP ViT-g/14 without its last block at 224 pixels, BLIP-2's Q-Former, Phi-2 with the added norms."""
    config = TinyGPTVConfig(
        vision_config=Blip2VisionConfig(
            image_size=224,
            patch_size=14,
            hidden_size=1408,
            num_hidden_layers=39,
            num_attention_heads=16,
            intermediate_size=6144,
        ),
        qformer_config=Blip2QFormerConfig(
            hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072
        ),
        text_config=TinyGPTVTextConfig(
            vocab_size=51200,
            hidden_size=2560,
            intermediate_size=10240,
            num_hidden_layers=32,
            num_attention_heads=32,
            partial_rotary_factor=0.4,
            max_position_embeddings=2048,
        ),
        num_query_tokens=32,
        projection_size=4096,
    )
    with torch.device("meta"):
        return TinyGPTVForConditionalGeneration(config)


@pytest.fixture(scope="module")
def counted() -> dict[str, int]:
    """Counts by part and by what trains, before and after the adapters."""
    model = paper_model()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    count["stage 1"] = freeze(model, ("projection", "norms")).total_trainable
    with torch.device("meta"):
        add_lora(model, PAPER_LORA)
    table = freeze(model, ("projection", "norms", "lora"))
    count["stages 2 to 4"] = table.total_trainable
    count["adapters"] = table.trainable["lora"]
    count["all"] = table.total_trainable + table.frozen
    return count


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("projector", 3_149_824 + 10_488_320),
        ("language_model", 2_779_683_840 + 92_160),
        ("stage 1", 13_809_664),
        ("adapters", 31_457_280),
        ("stages 2 to 4", 45_266_944),
    ],
)
def test_counts_are_those_of_the_paper(counted: dict[str, int], part: str, expected: int) -> None:
    assert counted[part] == expected


def test_the_image_encoder_is_the_authors_but_for_the_bias_of_keys(counted: dict[str, int]) -> None:
    authors = 985_894_528 + 2_816 + 105_137_664 + 24_576
    assert counted["image_encoder"] == authors + 39 * 1408  # BLIP-2's qkv has a (zero) bias for keys
    assert counted["all"] == 3_915_931_008 + 39 * 1408
