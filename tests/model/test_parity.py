"""Tiny random twins: our modules beside transformers' own with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import (
    AutoModelForImageTextToText,
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionModel,
    CLIPVisionModel,
)

from tests.model.twins import our_text_config, randomise
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.model import TinyGPTVConfig, TinyGPTVForConditionalGeneration
from tinygptv.model.configuration import TOWERS
from tinygptv.model.vision import TinyGPTVImageEncoder

IMAGE, PATCH, QUERIES = 16, 4, 3


def tiny_config(tower: str = "eva") -> TinyGPTVConfig:
    return TinyGPTVConfig(
        vision_config=TOWERS[tower](
            image_size=IMAGE,
            patch_size=PATCH,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
        ),
        qformer_config=Blip2QFormerConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
        ),
        text_config=our_text_config(),
        num_query_tokens=QUERIES,
        projection_size=24,
    )


@pytest.fixture(scope="module")
def model() -> TinyGPTVForConditionalGeneration:
    """Read only."""
    tiny = TinyGPTVForConditionalGeneration(tiny_config()).eval()
    randomise(tiny)
    return tiny


@pytest.mark.parametrize("size", [IMAGE, 2 * IMAGE])
def test_the_image_encoder_is_blip2_vision_and_qformer(model: TinyGPTVForConditionalGeneration, size: int) -> None:
    ours = model.image_encoder
    vision = Blip2VisionModel(model.config.vision_config).eval()
    vision.load_state_dict(ours.vision_model.state_dict())
    vision.post_layernorm.eps = 1e-5
    qformer = Blip2QFormerModel(model.config.qformer_config).eval()
    qformer.load_state_dict(ours.qformer.state_dict())
    pixels_BCHW = torch.randn(2, 3, size, size)
    hidden_BPD = vision(pixel_values=pixels_BCHW, interpolate_pos_encoding=True).last_hidden_state
    assert hidden_BPD.shape[1] == 1 + (size // PATCH) ** 2
    expected_BQD = qformer(query_embeds=ours.query_tokens.expand(2, -1, -1), encoder_hidden_states=hidden_BPD)[0]
    assert_close(ours(pixels_BCHW), expected_BQD)


@pytest.mark.parametrize("size", [IMAGE, 2 * IMAGE])
def test_with_clips_tower_the_image_encoder_is_clip_vision_and_qformer(size: int) -> None:
    ours = TinyGPTVImageEncoder(tiny_config("clip")).eval()
    randomise(ours)
    vision = CLIPVisionModel(ours.config.vision_config).eval()
    vision.load_state_dict(ours.vision_model.state_dict())
    qformer = Blip2QFormerModel(ours.config.qformer_config).eval()
    qformer.load_state_dict(ours.qformer.state_dict())
    pixels_BCHW = torch.randn(2, 3, size, size)
    hidden_BPD = vision(pixel_values=pixels_BCHW, interpolate_pos_encoding=True).last_hidden_state
    norm = vision.post_layernorm
    normed_BPD = nn.functional.layer_norm(hidden_BPD, (16,), norm.weight, norm.bias, eps=1e-5)
    expected_BQD = qformer(query_embeds=ours.query_tokens.expand(2, -1, -1), encoder_hidden_states=normed_BPD)[0]
    assert_close(ours(pixels_BCHW), expected_BQD)


def test_a_folder_remembers_clips_tower(tmp_path: Path) -> None:
    model = TinyGPTVForConditionalGeneration(tiny_config("clip")).eval()
    randomise(model)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert isinstance(loaded.image_encoder.vision_model, CLIPVisionModel)
    pixels_BCHW = torch.randn(1, 3, IMAGE, IMAGE)
    assert_close(loaded.get_image_features(pixels_BCHW), model.get_image_features(pixels_BCHW), rtol=0, atol=0)


@pytest.mark.parametrize("tower", TOWERS)
def test_ln_vision_has_the_eps_of_torch(tower: str) -> None:
    encoder = TinyGPTVImageEncoder(tiny_config(tower)).eval()
    norm = encoder.vision_model.post_layernorm
    hidden_D = torch.randn(16) * 1e-3  # a variance of 1e-6, at which 1e-5 and 1e-6 differ
    assert_close(norm(hidden_D), nn.functional.layer_norm(hidden_D, (16,), norm.weight, norm.bias))
    assert (norm(hidden_D) - nn.functional.layer_norm(hidden_D, (16,), eps=1e-6)).abs().max() > 0.1
    loaded = TinyGPTVForConditionalGeneration(tiny_config(tower)).image_encoder.vision_model
    assert loaded.post_layernorm.eps == 1e-5
    assert loaded.encoder.layers[0].layer_norm1.eps == {"eva": 1e-6, "clip": 1e-5}[tower]


def prompt(model: TinyGPTVForConditionalGeneration, length: int, seed: int) -> list[int]:
    torch.manual_seed(seed)
    text = torch.randint(0, 39, (length,)).tolist()
    return [text[0], *[model.config.image_token_id] * QUERIES, *text[1:]]


def test_greedy_generation_with_the_cache_equals_full_recomputation(model: TinyGPTVForConditionalGeneration) -> None:
    ids_BT = torch.tensor([prompt(model, 6, seed=0)])
    pixels_BCHW = torch.randn(1, 3, IMAGE, IMAGE)
    cached_BT = model.generate(input_ids=ids_BT, pixel_values=pixels_BCHW, do_sample=False, max_new_tokens=8)
    with torch.inference_mode():
        for _ in range(8):
            logits_BTV = model(input_ids=ids_BT, pixel_values=pixels_BCHW, use_cache=False).logits
            ids_BT = torch.cat([ids_BT, logits_BTV[:, -1].argmax(-1, keepdim=True)], dim=1)
            if ids_BT[0, -1] == 39:
                break
    assert cached_BT.tolist() == ids_BT.tolist()


def test_a_left_padded_batch_equals_single_prompts(model: TinyGPTVForConditionalGeneration) -> None:
    rows = [prompt(model, length, seed=length) for length in (3, 6, 9)]
    longest = max(map(len, rows))
    pixels_BCHW = torch.randn(3, 3, IMAGE, IMAGE)
    ids_BT = torch.tensor([[39] * (longest - len(row)) + row for row in rows])
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    batch_BT = model.generate(
        input_ids=ids_BT, attention_mask=mask_BT, pixel_values=pixels_BCHW, do_sample=False, max_new_tokens=6
    )
    logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT, pixel_values=pixels_BCHW).logits
    for i, row in enumerate(rows):
        single_BT = torch.tensor([row])
        alone_BTV = model(input_ids=single_BT, pixel_values=pixels_BCHW[i : i + 1]).logits
        assert_close(logits_BTV[i, longest - len(row) :], alone_BTV[0])
        alone_BT = model.generate(
            input_ids=single_BT, pixel_values=pixels_BCHW[i : i + 1], do_sample=False, max_new_tokens=6
        )
        new = alone_BT[0, len(row) :].tolist()
        assert batch_BT[i, longest : longest + len(new)].tolist() == new


def test_gradient_checkpointing_changes_neither_loss_nor_gradients() -> None:
    torch.manual_seed(0)
    tiny = TinyGPTVForConditionalGeneration(tiny_config()).train()
    ids_BT = torch.tensor([prompt(tiny, 6, seed=1)])
    labels_BT = ids_BT.masked_fill(ids_BT == tiny.config.image_token_id, IGNORE_INDEX)
    features_BQD = torch.randn(1, QUERIES, 16)

    calls = []
    tiny.language_model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))

    def run() -> tuple[torch.Tensor, list[torch.Tensor]]:
        tiny.zero_grad()
        loss = tiny(input_ids=ids_BT, labels=labels_BT, image_features=features_BQD, use_cache=False).loss
        loss.backward()
        return loss, [p.grad.clone() for p in tiny.language_model.parameters() if p.grad is not None]

    loss, gradients = run()
    assert len(calls) == 1
    tiny.activation_checkpointing_enable()
    checkpointed_loss, checkpointed = run()
    assert len(calls) == 3, "the block must have been computed again in the backward pass"
    assert_close(checkpointed_loss, loss)
    assert_close(checkpointed, gradients)


@pytest.mark.parametrize(
    ("images", "message"), [(2, "3 image slots, the images give 6"), (0, "3 image slots, the images give 0")]
)
def test_slots_without_visual_tokens_are_refused(
    model: TinyGPTVForConditionalGeneration, images: int, message: str
) -> None:
    features_NQD = torch.randn(images, QUERIES, 16) if images else None
    with pytest.raises(ValueError, match=message):
        model(input_ids=torch.tensor([prompt(model, 4, seed=0)]), image_features=features_NQD)


def test_pixels_and_features_together_are_refused(model: TinyGPTVForConditionalGeneration) -> None:
    with pytest.raises(ValueError, match="not both"):
        model(input_ids=torch.tensor([[1]]), pixel_values=torch.zeros(1, 3, 4, 4), image_features=torch.zeros(1, 3, 16))
