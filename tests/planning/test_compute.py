"""Operations of the plan beside torch's count."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tinygptv.config import Validation
from tinygptv.model.configuration import image_config
from tinygptv.model.vision import TinyGPTVImageEncoder
from tinygptv.planning.compute import UTILISATION, encoder_forward, mean_batch, stage_compute
from tinygptv.planning.sizes import measure

STAGE = "stage3"
LEVERS = {"checkpointing": {"gradient_checkpointing": True}, "label only": {"label_only_logits": True}}
PLAIN = ("projection", "input_norm", "qk_norm", "rms_norm", "final_norm")


def planned(config, name=STAGE):
    sizes = measure(config, name)
    lora = sizes.stages[name].adapters if "lora" in config.stage(name).trainable else 0
    return stage_compute(config, config.stage(name), matrices=sizes.language_model.blocks, lora=lora)


@pytest.mark.parametrize("form", [{}, *LEVERS.values(), {"trainable": PLAIN}], ids=["plain", *LEVERS, "no adapters"])
def test_operations_of_a_sample_are_those_that_torch_counts(training, form):
    made = training(**form)
    plan = planned(made.config)
    with sdpa_kernel(SDPBackend.MATH):  # the one that torch can count
        with FlopCounterMode(display=False) as forward:
            loss = made.loss()
        with FlopCounterMode(display=False) as backward:
            loss.backward()
    text = made.config.model.text
    scores = 2 * text.num_hidden_layers * made.stage.max_sequence_tokens**2 * text.hidden_size
    behind = plan.backward + plan.recomputed - scores  # which kernels compute again and plain mathematics keeps
    samples = made.stage.micro_batch_size
    assert plan.forward * samples == pytest.approx(forward.get_total_flops(), rel=0.01)
    assert behind * samples == pytest.approx(backward.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("size", [32, 64])
def test_operations_of_an_image_are_those_that_torch_counts(smoke, size):
    with torch.device("meta"):
        encoder = TinyGPTVImageEncoder(image_config(smoke.model)).eval().requires_grad_(False)
        pixels = torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        encoder(pixels)
    assert encoder_forward(smoke, size) == pytest.approx(counted.get_total_flops(), rel=0.02)


def test_the_paper_s_tower_and_the_mean_of_its_mixture(paper):
    assert encoder_forward(paper, 224) == pytest.approx(0.533e12, rel=0.01)
    assert encoder_forward(paper, 448) == pytest.approx(2.283e12, rel=0.01)
    assert mean_batch(paper.stage4) == pytest.approx(1310 / 690)
    assert mean_batch(paper.stage1) == 64


def test_hours_follow_from_the_assumed_share_of_the_peak(paper):
    compute = planned(paper, "stage2")
    assert compute.samples == 4 * 5000 * 64
    operations = compute.samples * (compute.forward + compute.backward + compute.recomputed)
    assert compute.hours(100.0) * 3600 * 100e12 * UTILISATION == pytest.approx(operations)
    assert compute.hours(200.0) == compute.hours(100.0) / 2


def test_looks_at_held_out_records_cost_their_forward_passes(small):
    steps = {"steps_per_epoch": 10, "epochs": 1, "repeats": 1, "batch_size": 8, "micro_batch_size": 4}
    without = planned(small(**steps, validation=None))
    looking = planned(
        small(**steps, validation=Validation(every=4, batches=3, questions=5, keep="loss", patience=None))
    )
    assert without.looked_at == 0
    assert looking.looked_at == 4 * (3 * 4 + 5)  # before step 1, after steps 4, 8 and 10
    added = (looking.hours(1.0) - without.hours(1.0)) * 3600 * 1e12 * UTILISATION
    assert added == pytest.approx(68 * looking.forward)


def test_a_stage_without_epochs_looks_at_nothing(small):
    validation = Validation(every=4, batches=3, questions=None, keep="loss", patience=None)
    assert planned(small(epochs=0, validation=validation)).looked_at == 0
