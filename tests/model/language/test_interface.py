"""What every architecture of the table declares, beside the real module."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from tinygptv.config import Config
from tinygptv.ground.errors import UserError
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.model.adapters import GROUPS, add_lora, freeze, own_name, patterns
from tinygptv.model.language import ARCHITECTURES, AUTHORS, BY_NAME, Architecture, architecture_of, of_profile
from tinygptv.model.profile import from_profile
from tinygptv.planning.sizes import measure

WITHOUT = {"qk_norm": False, "rms_norm": False}


@pytest.fixture(params=ARCHITECTURES.values(), ids=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Architecture:
    """Each of the table, as if profiles asked for it."""
    monkeypatch.setitem(BY_NAME, "phi", request.param)
    return request.param


@pytest.fixture
def module(architecture: Architecture, smoke: Config) -> nn.Module:
    """The language model at the sizes of smoke, without memory."""
    return laid_out(architecture, smoke)


def laid_out(architecture: Architecture, config: Config, **changes: bool) -> nn.Module:
    text = config.model.text.model_copy(update=changes)
    with torch.device("meta"):
        return architecture.model(
            from_profile(config.model.model_copy(update={"text": text}), end_of_text_id=0).text_config
        )


def test_a_language_model_is_found_by_its_configuration_and_by_a_profile(module, architecture, smoke):
    assert architecture_of(module.config) is of_profile(smoke.model.text) is architecture


def test_a_profile_that_names_none_has_the_paper_s(smoke):
    assert of_profile(smoke.model.text) is AUTHORS


def test_every_declared_name_is_a_part_of_the_real_module(module, architecture, smoke):
    blocks = architecture.blocks_of(module)
    assert isinstance(blocks, nn.ModuleList)
    assert len(blocks) == smoke.model.text.num_hidden_layers
    assert module.get_submodule(architecture.embedding) is module.get_input_embeddings()
    assert module.get_submodule(architecture.head) is module.get_output_embeddings()
    assert any(part is module.get_submodule(architecture.final_norm) for part in module.get_decoder().modules())
    for block in blocks:
        assert {type(block.get_submodule(name)) for name in architecture.lora_targets} == {nn.Linear}
        for name in (*architecture.input_norm, *architecture.added_norms):
            assert block.get_submodule(name).weight.ndim == 1
    ends = (module.get_input_embeddings(), module.get_output_embeddings(), blocks)
    large = {id(p) for p in module.parameters() if p.ndim > 1}
    assert large == {id(p) for part in ends for p in part.parameters() if p.ndim > 1}, "embed, blocks, head: no other"


def test_every_vector_but_biases_of_matrices_is_a_norm_of_a_group(module, architecture):
    groups = {group: pattern for group, pattern in architecture.groups().items() if group != "lora"}
    of_matrices = {f"{name}.bias" for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    for name, parameter in module.named_parameters():
        found = [group for group, pattern in groups.items() if re.fullmatch(pattern, name)]
        assert len(found) == (parameter.ndim == 1 and name not in of_matrices), (name, found)
        assert architecture.is_norm(name) == bool(found)


def test_the_added_norms_are_what_the_switches_take_away(architecture, smoke):
    whole, bare = laid_out(architecture, smoke).state_dict(), laid_out(architecture, smoke, **WITHOUT).state_dict()
    assert architecture.starts(whole).keys() == whole.keys() - bare.keys()
    groups = architecture.groups()
    for switch in WITHOUT:
        gone = whole.keys() - laid_out(architecture, smoke, **{switch: False}).state_dict().keys()
        assert {name for name in whole if re.fullmatch(groups[switch], name)} == {n for n in gone if "weight" in n}
    real = architecture.model(from_profile(smoke.model, end_of_text_id=0).text_config).state_dict()
    for name, start in architecture.starts(real).items():
        assert torch.equal(real[name], torch.full_like(real[name], start)), "as transformers initialises it"


def test_formats_hold_plain_or_normed(architecture, smoke):
    normed, plain = (laid_out(architecture, smoke, qk_norm=switch).config for switch in (True, False))
    assert (architecture.normed(normed), architecture.normed(plain)) == (True, False)
    assert architecture.formats <= architecture.normed_formats
    for dtype in architecture.normed_formats:
        architecture.check_format(normed, dtype)
    with pytest.raises(UserError, match=r"float8, in which .* products overflow; set it to bfloat16 or"):
        architecture.check_format(normed, "float8")
    for dtype in architecture.normed_formats - architecture.formats:
        with pytest.raises(UserError, match="overflow without QK-Norm"):
            architecture.check_format(plain, dtype)


def test_groups_are_those_of_a_stage_and_the_adapters_sit_where_declared(architecture, smoke):
    assert tuple(patterns(architecture)) == GROUPS
    with torch.device("meta"):
        model = TinyGPTVForConditionalGeneration(from_profile(smoke.model, end_of_text_id=0))
        add_lora(model, smoke.model.lora)
    adapted = {own_name(name) for name, _ in model.named_parameters() if ".lora_" in name}
    inside = rf"language_model\.{re.escape(architecture.blocks)}\.(\d+)\.(.+)\.lora_[AB]\.weight"
    assert {re.fullmatch(inside, name)[2] for name in adapted} == set(architecture.lora_targets)
    assert freeze(model, ("lora",)).total_trainable == sum(p.numel() for p in model.parameters() if p.requires_grad) > 0


def test_the_planner_counts_the_module(architecture, module, smoke):
    part = measure(smoke, "stage1").language_model
    assert part.parameters == sum(p.numel() for p in module.parameters())
    matrices = [p for p in architecture.blocks_of(module).parameters() if p.ndim > 1]
    assert (part.blocks, part.rows) == (sum(p.numel() for p in matrices), sum(len(p) for p in matrices))


def test_the_cache_holds_what_is_declared(architecture, smoke):
    model = architecture.model(from_profile(smoke.model, end_of_text_id=0).text_config).eval()
    cache = model(input_ids=torch.ones(1, 5, dtype=torch.long), use_cache=True).past_key_values
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert held == 5 * len(architecture.blocks_of(model)) * architecture.cached(smoke.model.text)


def test_a_fresh_model_is_the_same_for_the_same_seed(architecture, smoke):
    sizes = from_profile(smoke.model, end_of_text_id=0)
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(TinyGPTVForConditionalGeneration(sizes).state_dict())
    assert all(torch.equal(one, two) for one, two in zip(*map(dict.values, states), strict=True))
