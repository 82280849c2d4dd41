"""Imported, the model computes what the authors' code computes, to 3e-5, and deliberate mistakes are noticed.

The files of ``tests/golden`` were made by the authors' unmodified code (tests/golden/README.md).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tinygptv.data.batches import Batch
from tinygptv.data.prompts import IGNORE_INDEX
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.model.adapters import merge_lora
from tinygptv.model.checkpoint import import_authors
from tinygptv.training.loss import placed

GOLDEN = Path(__file__).parents[1] / "golden"
PICKLED = {"v2_stage4_conv": frozenset({"qformer", "checkpoint"}), "mg4_stage3_lora": frozenset[str]()}
"""Cases, and which of their files are pickles, as the authors' all are; each of these costs a process."""
TOLERANCE = 3e-5
SLOT = -200

Mistake = Callable[[TinyGPTVForConditionalGeneration], None]


@dataclass(frozen=True, slots=True)
class Golden:
    """One case with everything read."""

    facts: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    expected: dict[str, torch.Tensor]
    model: TinyGPTVForConditionalGeneration
    pixels_BCHW: torch.Tensor
    features_BQD: torch.Tensor


@pytest.fixture(scope="module")
def import_case(tmp_path_factory, golden_parts, import_settings, write_parts):
    """``import_case(case, **changed)``: the model; a mistake may be among the arguments changed."""
    folder = tmp_path_factory.mktemp("golden")

    def read(case: str, **changed: Any) -> TinyGPTVForConditionalGeneration:
        pickled = frozenset() if changed else PICKLED[case]
        paths = write_parts(folder / case, golden_parts(case), pickled)
        return import_authors(**paths, **import_settings(case) | changed)[0]

    return read


@pytest.fixture(scope="module")
def read_case(import_case, golden_facts) -> Callable[[str], Golden]:
    """``read_case(case)``. Read only."""

    @cache
    def read(case: str) -> Golden:
        facts, model, folder = golden_facts(case), import_case(case), GOLDEN / case
        inputs, expected = load_file(folder / "inputs.safetensors"), load_file(folder / "expected.safetensors")
        inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == SLOT, model.config.image_token_id)
        how = facts["images"]
        pixels_BCHW = torch.randn(how["shape"], generator=torch.Generator().manual_seed(how["generator_seed"]))
        with torch.inference_mode():
            features_BQD = model.image_encoder(pixels_BCHW)
        return Golden(facts, inputs, expected, model, pixels_BCHW, features_BQD)

    return read


@pytest.fixture(scope="module", params=PICKLED)
def golden(request: pytest.FixtureRequest, read_case: Callable[[str], Golden]) -> Golden:
    """Read only."""
    return read_case(request.param)


@pytest.fixture(scope="module")
def small_golden(read_case: Callable[[str], Golden]) -> Golden:
    """The case at 224 pixels, for mistakes. Read only."""
    return read_case("mg4_stage3_lora")


@torch.inference_mode()
def largest_errors(
    golden: Golden, model: TinyGPTVForConditionalGeneration, features_BQD: torch.Tensor
) -> dict[str, float]:
    """Largest absolute difference to what the authors' code gave; padding is left out."""
    attended_BT, labels_BT = golden.inputs["attention_mask"].bool(), golden.inputs["labels"]
    output = model(**golden.inputs, image_features=features_BQD)
    logits_BTV = output.logits
    nll_BT = nn.functional.cross_entropy(
        logits_BTV[:, :-1].transpose(1, 2), labels_BT[:, 1:], ignore_index=IGNORE_INDEX, reduction="none"
    )
    learned_BT = labels_BT[:, 1:] != IGNORE_INDEX
    expected = golden.expected
    return {
        "visual": (model.projector(features_BQD) - expected["visual_tokens"]).abs().max().item(),
        "logits": (logits_BTV - expected["logits"])[attended_BT].abs().max().item(),
        "nll": (nll_BT - expected["token_nll"])[learned_BT].abs().max().item(),
        "loss": abs(output.loss.item() - golden.facts["loss"]),
    }


def test_visual_tokens_logits_and_losses_are_the_authors(golden: Golden) -> None:
    errors = largest_errors(golden, golden.model, golden.features_BQD)
    assert max(errors.values()) < TOLERANCE, errors


@torch.inference_mode()
def test_samples_in_one_row_have_the_authors_logits(golden: Golden) -> None:
    model, (ids_BT, mask_BT, labels_BT) = (
        golden.model,
        map(golden.inputs.get, ("input_ids", "attention_mask", "labels")),
    )
    batch = Batch(("",) * len(ids_BT), ids_BT, mask_BT, labels_BT, golden.features_BQD)
    here = placed(batch, model.config.image_token_id, torch.device("cpu"), packing=True)
    embedded_1TD = model.embed(here.input_ids, model.projector(here.image_features), here.slots)
    logits_1TV = model(inputs_embeds=embedded_1TD, **here.seen).logits
    assert (logits_1TV[0] - golden.expected["logits"][mask_BT.bool()]).abs().max() < TOLERANCE


def test_merged_adapters_give_the_same(golden: Golden) -> None:
    merged = deepcopy(golden.model)
    merge_lora(merged)
    errors = largest_errors(golden, merged, golden.features_BQD)
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_tokens_are_the_authors(golden: Golden, use_cache: bool) -> None:
    rows = golden.facts["gen_input_ids"]
    longest, slot = max(map(len, rows)), golden.model.config.image_token_id
    ids_BT = torch.tensor([[golden.facts["pad"]] * (longest - len(row)) + row for row in rows])
    mask_BT = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    expected_BT = golden.expected["gen_tokens"]
    output_BT = golden.model.generate(
        input_ids=ids_BT.masked_fill(ids_BT == SLOT, slot),
        attention_mask=mask_BT,
        image_features=golden.features_BQD,
        do_sample=False,
        max_new_tokens=expected_BT.shape[1],
        use_cache=use_cache,
    )
    assert output_BT[:, longest:].tolist() == expected_BT.tolist()


@torch.inference_mode()
def test_pixels_give_the_authors_visual_tokens_and_logits(small_golden: Golden) -> None:
    model, inputs = small_golden.model, small_golden.inputs
    visual_BQD = model.get_image_features(small_golden.pixels_BCHW)
    assert (visual_BQD - small_golden.expected["visual_tokens"]).abs().max() < TOLERANCE
    logits_BTV = model(**inputs, pixel_values=small_golden.pixels_BCHW).logits
    errors = (logits_BTV - small_golden.expected["logits"])[inputs["attention_mask"].bool()]
    assert errors.abs().max() < TOLERANCE


def no_rms_norm(model: TinyGPTVForConditionalGeneration) -> None:
    model.language_model.model.config.rms_norm = False
    for layer in model.language_model.model.layers:
        layer.post_layernorm = nn.Identity()


def eps_of_layer_norm_in_rms_norm(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.post_layernorm.variance_epsilon = 1e-5


def no_q_norm(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.q_layernorm = nn.Identity()


def doubled_lora_scale(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.dense.scaling["default"] *= 2


def fewer_channels_rotate(model: TinyGPTVForConditionalGeneration) -> None:
    for layer in model.language_model.model.layers:
        layer.self_attn.rotary_ndims -= 2
    rotary = model.language_model.model.rotary_emb
    rotary.inv_freq = rotary.inv_freq[:-1]


def no_bias(model: TinyGPTVForConditionalGeneration, part: int) -> None:
    for layer in model.image_encoder.vision_model.encoder.layers:
        layer.self_attn.qkv.bias.data.chunk(3)[part].zero_()


def no_query_bias(model: TinyGPTVForConditionalGeneration) -> None:
    no_bias(model, 0)


def no_value_bias(model: TinyGPTVForConditionalGeneration) -> None:
    no_bias(model, 2)


def eps_of_torch_in_the_qformer(model: TinyGPTVForConditionalGeneration) -> None:
    for module in model.image_encoder.qformer.modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-12
            module.eps = 1e-5


@pytest.mark.parametrize("mistake", [no_query_bias, no_value_bias, eps_of_torch_in_the_qformer])
def test_a_mistake_in_the_image_encoder_is_noticed(small_golden: Golden, mistake: Mistake) -> None:
    # A wrong eps of ln_vision (1e-6 for 1e-5) is not to be seen here: the variances of these files are above 1, so that
    # it changes the visual tokens by 3e-7. test_parity.py has a test of its own for it.
    model = deepcopy(small_golden.model)
    mistake(model)
    with torch.inference_mode():
        features_BQD = model.image_encoder(small_golden.pixels_BCHW)
    errors = largest_errors(small_golden, model, features_BQD)
    assert errors["visual"] > TOLERANCE
    assert errors["logits"] > TOLERANCE


@pytest.mark.parametrize(
    "mistake", [no_rms_norm, eps_of_layer_norm_in_rms_norm, no_q_norm, doubled_lora_scale, fewer_channels_rotate]
)
def test_a_mistake_in_the_language_model_is_noticed(small_golden: Golden, mistake: Mistake) -> None:
    model = deepcopy(small_golden.model)
    mistake(model)
    errors = largest_errors(small_golden, model, small_golden.features_BQD)
    assert errors["logits"] > TOLERANCE
    assert errors["nll"] > TOLERANCE


@pytest.mark.parametrize("changed", [{"layout": "thirds"}, {"lora_alpha": 32}, {"heads": {"text": 4, "vision": 2}}])
def test_a_mistake_in_the_import_is_noticed(small_golden: Golden, import_case, import_settings, changed) -> None:
    """Rows of qkv in Microsoft's order, a doubled scale of the adapters, other heads in the tower."""
    if "heads" in changed:
        changed = {"heads": import_settings("mg4_stage3_lora")["heads"] | changed["heads"]}
    model = import_case("mg4_stage3_lora", **changed)
    with torch.inference_mode():
        features_BQD = model.image_encoder(small_golden.pixels_BCHW)
    assert largest_errors(small_golden, model, features_BQD)["logits"] > TOLERANCE
