"""Weights, gradients and moments of the plan beside those of real models."""

from __future__ import annotations

import pytest
import torch

from tinygptv.planning.sizes import measure
from tinygptv.training.optimizer import adamw

STAGE = "stage3"


@pytest.fixture(scope="module")
def of_paper(paper):
    return measure(paper)


def test_counts_of_the_paper(of_paper):
    assert of_paper.projections.parameters == 13_638_144
    assert of_paper.language_model.parameters == 2_779_683_840 + 92_160
    assert [of_paper.stages[f"stage{n}"].parameters for n in (1, 2, 3, 4)] == [13_809_664, *[45_266_944] * 3]
    assert [of_paper.stages[f"stage{n}"].adapters for n in (1, 2, 3, 4)] == [0, *[31_457_280] * 3]
    assert of_paper.language_model.blocks == 2_516_582_400  # what LLM.int8() makes small


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("base_8bit", [False, True])
@pytest.mark.parametrize("adapted", [False, True])
def test_bytes_are_those_of_the_model(training, dtype, base_8bit, adapted):
    parts = ("projection", "input_norm", "qk_norm", "rms_norm", "final_norm", "norm_biases")
    made = training(runtime__dtype=dtype, base_8bit=base_8bit, trainable=(*parts, "lora") if adapted else parts)
    others = {name: made.config.stage(name).model_copy(update={"trainable": parts}) for name in ("stage1", "stage2")}
    config = made.config.model_copy(update=others)
    sizes = measure(config)
    held = [made.model.projector, made.model.language_model]
    real = sum(t.nbytes for module in held for t in (*module.parameters(), *module.buffers()))
    if base_8bit:
        real += sum(m.weight.SCB.nbytes for m in made.model.modules() if hasattr(m, "state") and hasattr(m, "weight"))
    assert sizes.weights(config.stage(STAGE), STAGE, dtype) == real

    trained = [p for p in made.model.parameters() if p.requires_grad]
    optimizer = adamw({str(i): p for i, p in enumerate(trained)}, weight_decay=0.1, betas=(0.9, 0.99))
    made.loss().backward()
    optimizer.step()
    assert sizes.stages[STAGE].gradients == sum(p.grad.nbytes for p in trained)
    state = [value for entry in optimizer.state.values() for value in entry.values()]
    assert sizes.stages[STAGE].optimizer == sum(value.nbytes for value in state if isinstance(value, torch.Tensor))


def test_a_stage_without_lora_holds_the_adapters_of_the_one_before(smoke):
    last = smoke.stage4.model_copy(update={"trainable": ("projection",)})
    sizes = measure(smoke.model_copy(update={"stage4": last}))
    assert sizes.stages["stage4"].adapters == sizes.stages["stage3"].adapters > 0
    assert sizes.stages["stage4"].parameters == sizes.projections.parameters


def test_a_checkpoint_holds_what_earlier_stages_trained(paper):
    changes = {"stage1": ("input_norm",), "stage2": ("lora",), "stage3": ("norm_biases",), "stage4": ("lora",)}
    changed = {name: paper.stage(name).model_copy(update={"trainable": parts}) for name, parts in changes.items()}
    sizes = measure(paper.model_copy(update=changed))
    first = sizes.projections.parameters + sizes.stages["stage1"].parameters
    second = first + sizes.stages["stage2"].parameters
    third = second + sizes.stages["stage3"].parameters
    assert [sizes.stages[f"stage{n}"].held for n in (1, 2, 3, 4)] == [first, second, third, third]


def test_the_paper_s_stages_hold_what_they_train(of_paper):
    assert all(stage.held == stage.parameters for stage in of_paper.stages.values())
