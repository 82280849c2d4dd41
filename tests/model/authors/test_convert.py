"""One part from the files of Microsoft and Hugging Face; numerics beside transformers' own modules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    PhiConfig,
    PhiForCausalLM,
)

from tinygptv.ground.errors import CheckpointError
from tinygptv.model import TinyGPTVConfig, TinyGPTVTextConfig
from tinygptv.model.authors import convert_image_encoder, convert_language_model
from tinygptv.model.language.phi import TinyGPTVPhiForCausalLM
from tinygptv.model.vision import TinyGPTVImageEncoder

Tensors = dict[str, torch.Tensor]
HEADS = 4
EVA_G_WIDTH, EVA_G_BLOCKS, EVA_G_USED = 1408, 40, 39
"""EVA-CLIP's ViT-g has a block more than the authors build. Source: ``eva_vit.py``."""
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": HEADS}
TEXT = {**SIZES, "vocab_size": 40, "num_hidden_layers": 2, "partial_rotary_factor": 0.4, "qk_layernorm": True}


def randomise(module: torch.nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.3, generator=generator)


@pytest.fixture(scope="module")
def phi() -> PhiForCausalLM:
    """transformers' Phi with QK-Norm. Read only."""
    model = PhiForCausalLM(PhiConfig(**TEXT)).eval()
    randomise(model)
    return model


@pytest.fixture
def separate(phi: PhiForCausalLM) -> Tensors:
    """As transformers names it today, with the norm that it does not know."""
    added = {f"model.layers.{n}.post_layernorm.weight": torch.full((64,), n + 1.0) for n in range(2)}
    return {name: tensor.clone() for name, tensor in phi.state_dict().items()} | added


@pytest.fixture
def interleaved(separate: Tensors) -> Tensors:
    """As the authors name and order it: rows go head by head, q, k, v in each."""
    return refuse_names(separate, lambda q, k, v: torch.cat([torch.cat(heads) for heads in zip(q, k, v, strict=True)]))


def refuse_names(separate: Tensors, fuse: Callable[..., torch.Tensor]) -> Tensors:
    """Three matrices fused; ``fuse`` gets the chunks of each by head."""
    fused: Tensors = {}
    for name, tensor in separate.items():
        if ".q_proj." in name:
            parts = [separate[name.replace("q_proj", f"{p}_proj")].chunk(HEADS) for p in "qkv"]
            fused[name.replace("q_proj", "query_key_value")] = fuse(*parts)
        elif "k_proj" not in name and "v_proj" not in name:
            fused[name] = tensor
    return fused


@pytest.fixture
def microsoft(separate: Tensors) -> Tensors:
    """As Microsoft's files of 2023: all queries, then all keys, then all values; none of the added norms."""
    fused = refuse_names(separate, lambda q, k, v: torch.cat([*q, *k, *v]))
    renamed: Tensors = {"transformer.h.0.mixer.rotary_emb.inv_freq": torch.ones(3)}
    for name, tensor in fused.items():
        if "q_layernorm" in name or "k_layernorm" in name or "post_layernorm" in name:
            continue
        for ours, theirs in (
            ("model.embed_tokens", "transformer.embd.wte"),
            ("model.final_layernorm", "lm_head.ln"),
            ("model.layers", "transformer.h"),
            ("input_layernorm", "ln"),
            ("self_attn.query_key_value", "mixer.Wqkv"),
            ("self_attn.dense", "mixer.out_proj"),
        ):
            name = name.replace(ours, theirs)
        renamed[
            name.replace("lm_head.weight", "lm_head.linear.weight").replace("lm_head.bias", "lm_head.linear.bias")
        ] = tensor
    return renamed


def assert_same(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_three_matrices_become_one_and_compute_the_same(phi: PhiForCausalLM, separate: Tensors) -> None:
    converted = convert_language_model(separate, HEADS)
    assert (converted.layout, converted.fresh) == ("separate", [])
    model = TinyGPTVPhiForCausalLM(TinyGPTVTextConfig(**TEXT, rms_norm=False)).eval()
    model.load_state_dict({n: t for n, t in converted.tensors.items() if "post_layernorm" not in n})
    ids_BT = torch.arange(12).view(2, 6)
    with torch.inference_mode():
        torch.testing.assert_close(model(ids_BT).logits, phi(ids_BT).logits)


def test_all_layouts_give_the_same(separate: Tensors, interleaved: Tensors, microsoft: Tensors) -> None:
    converted = convert_language_model(interleaved, HEADS)
    assert converted.layout == "interleaved"
    assert_same(converted.tensors, interleaved)
    assert_same(convert_language_model(separate, HEADS).tensors, interleaved)
    thirds = convert_language_model(microsoft, HEADS)
    assert thirds.layout == "thirds"
    assert_same(
        {n: t for n, t in thirds.tensors.items() if n not in thirds.fresh},
        {n: interleaved[n] for n in thirds.tensors if n not in thirds.fresh},
    )
    assert thirds.ignored == {"phi/transformer.h.0.mixer.rotary_emb.inv_freq": "computed, not learned"}


def test_norms_that_phi_lacks_start_at_one_and_zero(microsoft: Tensors) -> None:
    converted = convert_language_model(microsoft, HEADS)
    assert len(converted.fresh) == 2 * 5
    for name in converted.fresh:
        expected = 1.0 if name.endswith("weight") else 0.0
        assert (converted.tensors[name] == expected).all(), name


def test_names_are_all_accounted_for(microsoft: Tensors) -> None:
    converted = convert_language_model(microsoft, HEADS)
    assert {f"phi/{name}" for name in microsoft} == converted.mapped.keys() | converted.ignored.keys()


def test_a_tensor_whose_name_alone_changes_is_not_copied(separate: Tensors) -> None:
    converted = convert_language_model(separate, HEADS)
    assert converted.tensors["lm_head.weight"].data_ptr() == separate["lm_head.weight"].data_ptr()


@pytest.mark.parametrize("leaf", ["Wqkv", "qkv_proj"])
def test_a_fused_matrix_of_unknown_order_needs_a_layout(interleaved: Tensors, leaf: str) -> None:
    ambiguous = {name.replace("query_key_value", leaf): tensor for name, tensor in interleaved.items()}
    with pytest.raises(CheckpointError, match="does not tell the order of its rows; say layout='interleaved'"):
        convert_language_model(ambiguous, HEADS)
    assert_same(convert_language_model(ambiguous, HEADS, "interleaved").tensors, interleaved)
    other = convert_language_model(ambiguous, HEADS, "thirds").tensors
    name = "model.layers.0.self_attn.query_key_value.weight"
    assert not torch.equal(other[name], interleaved[name])


@pytest.mark.parametrize(
    ("layout", "message"), [("quarters", "is none of interleaved, thirds, separate"), ("thirds", "cannot be that of")]
)
def test_a_layout_that_cannot_be_is_refused(separate: Tensors, layout: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert_language_model(separate, HEADS, layout)


def test_layouts_do_not_mix(separate: Tensors, interleaved: Tensors) -> None:
    mixed = {n: t for n, t in separate.items() if "layers.0" in n} | {
        n: t for n, t in interleaved.items() if "layers.0" not in n
    }
    with pytest.raises(CheckpointError, match="mixes layouts"):
        convert_language_model(mixed, HEADS)
    with pytest.raises(CheckpointError, match="mixes layouts"):
        convert_language_model(separate | interleaved, HEADS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("model.layers.1.self_attn.v_proj.bias"),
            r"1 missing: model\.layers\.1\.self_attn\.v_proj\.bias",
        ),
        (lambda t: t.pop("model.layers.0.self_attn.q_layernorm.bias"), r"1 missing: .*q_layernorm\.bias"),
        (lambda t: t.pop("model.embed_tokens.weight"), r"lacks model\.embed_tokens\.weight, which tells the sizes"),
        (lambda t: t.update({"more": torch.ones(1)}), "1 unknown: more"),
        (lambda t: t.update({"lm_head.bias": torch.ones(3)}), r"1 of another shape: lm_head\.bias \(3,\) for \(40,\)"),
        (lambda t: t.update({"lm_head.bias": torch.ones(40, dtype=torch.int64)}), "int64 for a floating format"),
        (lambda t: t.update({"model.layers.9.mlp.fc1.bias": torch.ones(96)}), r"lacks model\.layers\.2, though later"),
        (lambda t: t.update({"model.layers.0.self_attn.k_proj.bias": torch.ones(3)}), r"k_proj\.bias \(3,\)"),
    ],
)
def test_what_does_not_fit_is_listed_in_one_line(
    separate: Tensors, change: Callable[[Tensors], object], message: str
) -> None:
    change(separate)
    with pytest.raises(CheckpointError, match=message) as raised:
        convert_language_model(separate, HEADS)
    assert "\n" not in str(raised.value)


def test_heads_must_divide_the_width(interleaved: Tensors) -> None:
    with pytest.raises(CheckpointError, match=r"5 heads \(heads\['text'\]\) do not divide its width 64"):
        convert_language_model(interleaved, 5)


def test_wrong_heads_are_noticed_by_the_norm_of_a_head(interleaved: Tensors) -> None:
    with pytest.raises(CheckpointError, match=r"of another shape: .*layernorm"):
        convert_language_model(interleaved, 2)


@pytest.fixture(scope="module")
def blip2() -> tuple[TinyGPTVConfig, Tensors]:
    """A BLIP-2 of transformers' classes with a language model beside it. Read only."""
    vision = Blip2VisionConfig(**SIZES, image_size=56, patch_size=14, num_hidden_layers=2)
    qformer = Blip2QFormerConfig(**SIZES | {"hidden_size": 32}, num_hidden_layers=3, encoder_hidden_size=64)
    tower, head = Blip2VisionModel(vision).eval(), Blip2QFormerModel(qformer).eval()
    randomise(tower, 1)
    randomise(head, 2)
    tensors = {f"vision_model.{name}": tensor for name, tensor in tower.state_dict().items()}
    tensors |= {f"qformer.{name}": tensor for name, tensor in head.state_dict().items()}
    tensors |= {"query_tokens": torch.randn(1, 5, 32), "language_model.shared.weight": torch.ones(2)}
    tensors["language_projection.bias"] = torch.ones(2)
    config = TinyGPTVConfig(
        vision_config=vision, qformer_config=qformer, text_config=TinyGPTVTextConfig(**TEXT), num_query_tokens=5
    )
    return config, tensors


def test_one_folder_of_blip2_gives_tower_and_qformer(blip2: tuple[TinyGPTVConfig, Tensors]) -> None:
    config, tensors = blip2
    converted = convert_image_encoder(tensors, tensors)
    encoder = TinyGPTVImageEncoder(config).eval()
    encoder.load_state_dict(converted.tensors, strict=True)
    assert {name for name in tensors if name.startswith("language")}.isdisjoint(converted.tensors)
    mapped = {name.partition("/")[2] for name in converted.mapped}
    assert mapped == {name for name in tensors if not name.startswith("language")}
    assert converted.ignored["qformer/language_model.shared.weight"] == "BLIP-2's language model; TinyGPT-V has Phi"


def eva_of(tensors: Tensors) -> tuple[Tensors, Tensors]:
    """The authors' two files of the same values: biases of queries and values apart, none of keys."""
    from tinygptv.model.authors import names

    vision: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("qkv.bias"):
            block = name.split(".")[3]
            vision[f"blocks.{block}.attn.q_bias"], _, vision[f"blocks.{block}.attn.v_bias"] = tensor.chunk(3)
        elif theirs := names.translate(name, names.reverse(names.EVA)):
            vision[theirs] = tensor
    qformer = {t: v for n, v in tensors.items() if (t := names.translate(n, names.reverse(names.QFORMER)))}
    return vision, qformer


def test_the_authors_files_give_the_same_but_for_the_bias_of_keys(blip2: tuple[TinyGPTVConfig, Tensors]) -> None:
    _, tensors = blip2
    expected = convert_image_encoder(tensors, tensors).tensors
    for name, tensor in expected.items():
        if name.endswith("qkv.bias"):
            expected[name] = torch.cat([tensor[:64], torch.zeros(64), tensor[128:]])
    vision, qformer = eva_of(tensors)
    assert_same(convert_image_encoder(vision, qformer).tensors, expected)
    assert_same(convert_image_encoder(vision, tensors).tensors, expected)  # files of both kinds


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.1.attn.v_bias", r"1 missing: blocks\.1\.attn\.v_bias"),
        ("blocks.1.attn.q_bias", r"1 missing: blocks\.1\.attn\.q_bias"),
        ("blocks.0.mlp.fc2.weight", r"1 missing: blocks\.0\.mlp\.fc2\.weight"),
        (
            "Qformer.bert.encoder.layer.2.output_query.dense.bias",
            r"1 missing: Qformer\.bert\..*output_query\.dense\.bias",
        ),
        ("query_tokens", "lacks query_tokens"),
        ("ln_vision.weight", r"1 missing: ln_vision\.weight"),
    ],
)
def test_a_missing_tensor_of_the_encoder_is_named_as_in_its_file(
    blip2: tuple[TinyGPTVConfig, Tensors], name: str, message: str
) -> None:
    vision, qformer = eva_of(blip2[1])
    vision.pop(name, None)
    qformer.pop(name, None)
    with pytest.raises(CheckpointError, match=message):
        convert_image_encoder(vision, qformer)


def test_unknown_tensors_of_the_encoder_stop_it(blip2: tuple[TinyGPTVConfig, Tensors]) -> None:
    vision, qformer = eva_of(blip2[1])
    with pytest.raises(CheckpointError, match="1 unknown: rel_pos"):
        convert_image_encoder(vision | {"rel_pos": torch.ones(1)}, qformer)
    with pytest.raises(CheckpointError, match=r"1 unknown: Qformer\.more"):
        convert_image_encoder(vision, qformer | {"Qformer.more": torch.ones(1)})


def test_positions_that_do_not_count_are_refused(blip2: tuple[TinyGPTVConfig, Tensors]) -> None:
    vision, qformer = eva_of(blip2[1])
    ids = "Qformer.bert.embeddings.position_ids"
    assert f"qformer/{ids}" in convert_image_encoder(vision, qformer | {ids: torch.arange(9)[None]}).ignored
    with pytest.raises(CheckpointError, match="does not count"):
        convert_image_encoder(vision, qformer | {ids: torch.zeros(1, 9, dtype=torch.int64)})


def test_the_last_block_of_eva_clip_is_left_out(blip2: tuple[TinyGPTVConfig, Tensors]) -> None:
    """The published file has 40 blocks and a head; the authors build 39 and none. Shapes are enough to see it."""
    vision, qformer = eva_of(blip2[1])
    wide: Tensors = {}
    for name, tensor in vision.items():
        shape = [{64: EVA_G_WIDTH, 192: 3 * EVA_G_WIDTH}.get(size, size) for size in tensor.shape]
        copies = range(EVA_G_BLOCKS) if ".0." in name else () if ".1." in name else (0,)
        wide |= {name.replace("blocks.0.", f"blocks.{n}."): torch.empty(shape, device="meta") for n in copies}
    wide |= {name: torch.empty(1, device="meta") for name in ("norm.weight", "norm.bias", "head.weight", "head.bias")}
    for name, tensor in qformer.items():
        shape = [EVA_G_WIDTH if size == 64 else size for size in tensor.shape]
        qformer[name] = torch.empty(shape, device="meta")
    converted = convert_image_encoder(wide, qformer)
    blocks = {name.split(".")[3] for name in converted.tensors if ".encoder.layers." in name}
    assert len(blocks) == EVA_G_USED
    assert sum(name.startswith("vision/blocks.39.") for name in converted.ignored) == 13
    assert sum("without a norm or a head" in reason for reason in converted.ignored.values()) == 4
