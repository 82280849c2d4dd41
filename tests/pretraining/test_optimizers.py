"""Which parameter goes to which optimizer, and the rate that is held."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tinygptv.config import Config
from tinygptv.pretraining.optimizers import MuonAdamW, group_of, held_rate


@pytest.mark.parametrize(
    ("name", "shape", "group"),
    [
        ("model.layers.0.mlp.fc1.weight", (4, 4), "muon"),
        ("model.layers.0.mlp.fc1.bias", (4,), "others"),
        ("model.layers.0.self_attn.q_layernorm.weight", (4,), "norms"),
        ("model.layers.0.self_attn.q_layernorm.bias", (4,), "others"),
        ("model.embed_tokens.weight", (4, 4), "others"),
        ("lm_head.weight", (4, 4), "others"),
        ("words.weight", (4, 4), "others"),
        ("vision_model.embeddings.patch_embedding.weight", (4, 3, 2, 2), "others"),
        ("embed_phrases.words_WD", (4, 4), "others"),
        ("query_tokens", (1, 4, 4), "others"),
    ],
)
def test_groups(name: str, shape: tuple[int, ...], group: str) -> None:
    assert group_of(name, nn.Parameter(torch.zeros(shape)), ("words", "lm_head")) == group


def test_the_rate_is_held_between_warm_up_and_cosine(smoke: Config) -> None:
    settings = smoke.backbones.text.model_copy(update={"steps": 30, "hold_steps": 10})
    rates = [held_rate(settings, step) for step in range(30)]
    schedule, warm = settings.learning_rate, settings.learning_rate.warmup_steps
    assert rates[:warm] == sorted(rates[:warm])
    assert rates[0] == schedule.warmup
    assert rates[warm : warm + 10] == [schedule.init] * 10
    assert rates[warm + 10 :] == sorted(rates[warm + 10 :], reverse=True)
    assert rates[-1] < schedule.init * 0.1


def test_a_gradient_that_is_not_finite_stops_before_the_step(smoke: Config) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    named = [("fc.weight", module[0].weight), ("fc.bias", module[0].bias), ("norm.weight", module[1].weight)]
    optimizer = MuonAdamW(named, smoke.backbones.text, ends=())
    before = module[0].weight.detach().clone()
    with pytest.raises(RuntimeError, match="non-finite"):
        optimizer.step(3, module(torch.ones(1, 4)).sum() * torch.inf)
    assert torch.equal(module[0].weight, before)
