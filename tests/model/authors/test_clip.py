"""CLIP's tower and its Q-Former in LAVIS' two files, beside transformers' modules and LAVIS' forward pass in torch."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers import Blip2QFormerConfig, Blip2QFormerModel, CLIPVisionConfig, CLIPVisionModel

from tests.model.authors.conftest import CASE
from tests.model.authors.test_convert import randomise
from tinygptv.ground.errors import CheckpointError
from tinygptv.model import TinyGPTVConfig, TinyGPTVTextConfig
from tinygptv.model.authors import convert_image_encoder, sizes
from tinygptv.model.authors.convert import USED_BLOCKS
from tinygptv.model.authors.exporter import export_authors
from tinygptv.model.authors.folder import open_import, save_import
from tinygptv.model.checkpoint import import_authors
from tinygptv.model.vision import TinyGPTVImageEncoder

Tensors = dict[str, torch.Tensor]
WIDTH, HEADS, LAYERS, PIXELS, PATCH, QUERIES = 48, 4, 3, 56, 14, 5
TOWER = CLIPVisionConfig(
    hidden_size=WIDTH,
    intermediate_size=4 * WIDTH,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    image_size=PIXELS,
    patch_size=PATCH,
)
LOOKER = Blip2QFormerConfig(
    hidden_size=32, intermediate_size=64, num_attention_heads=4, num_hidden_layers=3, encoder_hidden_size=WIDTH
)
TO_LAVIS = (
    (r"embeddings\.class_embedding", "class_embedding"),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"embeddings\.patch_embedding\.weight", "conv1.weight"),
    (r"pre_layrnorm\.(.*)", r"ln_pre.\1"),
    (r"encoder\.layers\.(\d+)\.layer_norm([12])\.(.*)", r"transformer.resblocks.\1.ln_\2.\3"),
    (r"encoder\.layers\.(\d+)\.self_attn\.out_proj\.(.*)", r"transformer.resblocks.\1.attn.out_proj.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc1\.(.*)", r"transformer.resblocks.\1.mlp.c_fc.\2"),
    (r"encoder\.layers\.(\d+)\.mlp\.fc2\.(.*)", r"transformer.resblocks.\1.mlp.c_proj.\2"),
)
TO_BERT = (
    (r"layernorm\.(.*)", r"Qformer.bert.embeddings.LayerNorm.\1"),
    (
        r"encoder\.layer\.(\d+)\.(cross)?attention\.attention\.(.*)",
        r"Qformer.bert.encoder.layer.\1.\2attention.self.\3",
    ),
    (r"encoder\.(.*)", r"Qformer.bert.encoder.\1"),
)


def renamed(name: str, table: tuple[tuple[str, str], ...]) -> str | None:
    found = next(((hit, target) for what, target in table if (hit := re.fullmatch(what, name))), None)
    return found and found[0].expand(found[1]).replace("None", "")


@pytest.fixture(scope="module")
def modules() -> tuple[CLIPVisionModel, Blip2QFormerModel, nn.LayerNorm, torch.Tensor]:
    """Tower, Q-Former, the norm between them, queries; at random. Read only."""
    made = CLIPVisionModel(TOWER).eval(), Blip2QFormerModel(LOOKER).eval(), nn.LayerNorm(WIDTH)
    for seed, module in enumerate(made):
        randomise(module, seed)
    return *made, torch.randn(1, QUERIES, LOOKER.hidden_size, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def files(modules) -> tuple[Tensors, Tensors]:
    """``clip_vit_L.pth`` and ``blip2_pretrained_vitL.pth``, with what of them is not used."""
    tower, head, norm, queries = modules
    state, vision = tower.state_dict(), {"ln_post.weight": torch.ones(WIDTH), "proj": torch.ones(WIDTH, 3)}
    for name, tensor in state.items():
        if ".q_proj." in name:
            block, kind = name.split(".")[2], name.rpartition(".")[2]
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            vision[f"transformer.resblocks.{block}.attn.in_proj_{kind}"] = torch.cat(parts)
        elif theirs := renamed(name, TO_LAVIS):
            vision[theirs] = tensor
    qformer = {renamed(name, TO_BERT): tensor for name, tensor in head.state_dict().items()}
    qformer |= {"ln_vision.weight": norm.weight.data, "ln_vision.bias": norm.bias.data, "query_tokens": queries}
    qformer |= {"Qformer.bert.embeddings.word_embeddings.weight": torch.ones(3), "itm_head.bias": torch.ones(2)}
    qformer |= {"visual_encoder.conv1.weight": torch.ones(2), "temp": torch.ones(())}
    return vision, qformer


@pytest.fixture
def encoder(files) -> TinyGPTVImageEncoder:
    tensors = convert_image_encoder(*files).tensors
    config = TinyGPTVConfig(
        vision_config=sizes.vision_config("here", tensors, HEADS),
        qformer_config=LOOKER,
        text_config=TinyGPTVTextConfig(),
        num_query_tokens=QUERIES,
    )
    model = TinyGPTVImageEncoder(config).eval()
    model.load_state_dict(tensors, strict=True)
    return model


def lavis_forward(vision: Tensors, pixels: torch.Tensor) -> torch.Tensor:
    """Patches [B, P, D] as ``clip_vit.py`` computes them, with torch's own attention."""
    x = nn.functional.conv2d(pixels, vision["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([vision["class_embedding"].expand(len(x), 1, -1), x], dim=1) + vision["positional_embedding"]

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(x, (WIDTH,), vision[f"{name}.weight"], vision[f"{name}.bias"], 1e-5)

    x = norm("ln_pre", x)
    for number in range(LAYERS):
        block = f"transformer.resblocks.{number}."
        own = {name.removeprefix(block): tensor for name, tensor in vision.items() if name.startswith(block)}
        attend = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        attend.load_state_dict({n.removeprefix("attn."): t for n, t in own.items() if n.startswith("attn.")})
        seen = norm(f"{block}ln_1", x)
        x = x + attend(seen, seen, seen, need_weights=False)[0]
        inner = nn.functional.linear(norm(f"{block}ln_2", x), own["mlp.c_fc.weight"], own["mlp.c_fc.bias"])
        quick = inner * torch.sigmoid(1.702 * inner)
        x = x + nn.functional.linear(quick, own["mlp.c_proj.weight"], own["mlp.c_proj.bias"])
    return x


def test_every_tensor_is_accounted_for(files):
    vision, qformer = files
    converted = convert_image_encoder(vision, qformer)
    told = {name.partition("#")[0] for name in (*converted.mapped, *converted.ignored)}
    assert told == {f"vision/{name}" for name in vision} | {f"qformer/{name}" for name in qformer}
    assert set(converted.ignored) == {
        *(f"vision/{name}" for name in ("ln_post.weight", "proj")),
        *(f"qformer/{name}" for name in qformer if re.match(r"visual_|itm_|temp|.*word_embeddings", name)),
    }


@torch.no_grad()
def test_it_computes_what_transformers_and_lavis_compute(modules, files, encoder):
    tower, head, norm, queries = modules
    pixels = torch.randn(2, 3, PIXELS, PIXELS)
    patches = tower(pixel_values=pixels).last_hidden_state
    assert_close(lavis_forward(files[0], pixels), patches, rtol=1e-5, atol=1e-4)
    expected = head(query_embeds=queries.expand(2, -1, -1), encoder_hidden_states=norm(patches)).last_hidden_state
    assert_close(encoder(pixels), expected)


@torch.no_grad()
def test_twice_the_pixels_interpolate_the_positions(modules, encoder):
    tower, head, norm, queries = modules
    pixels = torch.randn(1, 3, 2 * PIXELS, 2 * PIXELS)
    patches = tower(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
    assert patches.shape[1] == (2 * PIXELS // PATCH) ** 2 + 1
    assert_close(encoder(pixels), head(query_embeds=queries, encoder_hidden_states=norm(patches)).last_hidden_state)


def test_a_folder_of_clip_gives_the_same_tower(modules, files):
    vision = {f"vision_model.{name}": tensor for name, tensor in modules[0].state_dict().items()}
    vision |= {"text_model.x": torch.ones(1), "logit_scale": torch.ones(()), "visual_projection.weight": torch.ones(1)}
    one, other = (convert_image_encoder(each, files[1]).tensors for each in (files[0], vision))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_missing_tensor_is_named_as_in_its_file(files):
    vision, qformer = files
    del vision["transformer.resblocks.1.attn.in_proj_bias"]
    with pytest.raises(CheckpointError, match=r"3 missing: transformer\.resblocks\.1\.attn\.in_proj_bias#k"):
        convert_image_encoder(vision, qformer)


def test_a_q_former_of_another_tower_is_refused_in_one_line(files):
    vision, qformer = files
    for name in list(qformer):
        if name.startswith("ln_vision") or re.search(r"crossattention\.self\.(key|value)\.weight", name):
            qformer[name] = torch.ones(*qformer[name].shape[:-1], 64)
    with pytest.raises(CheckpointError, match="looks at 64 numbers a patch, and the tower of the vision file has 48"):
        convert_image_encoder(vision, qformer)


def test_the_blocks_that_blip2_does_not_build_are_left_out():
    """Of the published width; shapes are enough to see it."""
    used, reason = USED_BLOCKS["class_embedding", 1024]
    wide = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 8, "num_hidden_layers": 23}
    tower = CLIPVisionConfig(**wide, image_size=28, patch_size=14)
    with torch.device("meta"):
        whole, head = CLIPVisionModel(tower).state_dict(), Blip2QFormerModel(Blip2QFormerConfig()).state_dict()
    vision = {f"vision_model.{name}": tensor for name, tensor in whole.items()}
    head = {f"qformer.{name}": tensor for name, tensor in head.items()}
    head = {n: t.new_empty(768, 1024) if re.search(r"crossatt.*(key|value)\.weight", n) else t for n, t in head.items()}
    head |= {f"vision_model.post_layernorm.{p}": torch.empty(1024, device="meta") for p in ("weight", "bias")}
    converted = convert_image_encoder(vision, head | {"query_tokens": torch.empty(1, 32, 768, device="meta")})
    blocks = {name.split(".")[3] for name in converted.tensors if name.startswith("vision_model.encoder.")}
    assert len(blocks) == used == 21
    assert list(converted.ignored.values()).count(reason) == 2 * 16


def test_the_importer_takes_them_beside_phi(files, golden_parts, write_parts, import_settings, tmp_path):
    parts = {"phi": golden_parts(CASE)["phi"], "vision": files[0], "qformer": files[1]}
    settings = import_settings(CASE)
    settings |= {"image_size": 2 * PIXELS, "heads": {**settings["heads"], "vision": HEADS, "qformer": 4}}
    model, processor, report = import_authors(**write_parts(tmp_path, parts, frozenset({"vision"})), **settings)
    assert model.image_encoder.is_clip
    assert model.get_image_features(torch.randn(1, 3, 2 * PIXELS, 2 * PIXELS)).shape[1] == QUERIES
    assert "vision/transformer.resblocks.0.attn.in_proj_weight#q" in report.mapped
    save_import(model, processor, tmp_path / "imported")
    again = open_import(tmp_path / "imported")[0].state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in model.state_dict().items())
    with pytest.raises(CheckpointError, match="only their architecture can be exported so"):
        export_authors(model, tmp_path / "theirs")
