"""Disk of the plan beside real files, and the steps that train nothing."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tinygptv.model.streaming import write_tensors
from tinygptv.planning.memory import POINTS, RESERVE, disk, encoding, other_steps, stage_memory
from tinygptv.planning.sizes import measure
from tinygptv.training.loop import new_state
from tinygptv.training.resume import ResumePoints


def size_of(config, beginning: str) -> int:
    found = [use.size for use in disk(config, measure(config)) if use.what.startswith(beginning)]
    assert len(found) == 1
    return found[0]


def test_a_stage_that_encodes_holds_encoder_and_images(paper):
    sizes, cached = measure(paper, "stage1"), paper.stage1
    in_loop = paper.model_copy(update={"stage1": cached.model_copy(update={"features": "in_loop"})})
    before, after = (stage_memory(config, "stage1", sizes, "cuda") for config in (paper, in_loop))
    assert after.weights - before.weights == sizes.image_encoder.size("bfloat16", base_8bit=False)
    assert (before.encoding, after.encoding) == (0, paper.features.batch_size * encoding(paper, cached.image_size))


def test_resume_points(training, tmp_path):
    made = training()
    state = new_state(
        made.model, {n: p for n, p in made.model.named_parameters() if p.requires_grad}, made.stage, (7, "stage4")
    )
    made.loss().backward()
    state.optimizer.step()
    for step in range(1, 5):
        state.trace.append({"step": step, "loss": 1.0, "lr": 0.1, "grad_norm": 1.0, "batch": "0" * 16})
        ResumePoints(tmp_path, {}).save(state)
    assert len(list(tmp_path.glob("*/step-*"))) == POINTS - 1  # and one more while it is written
    tensors = load_file(next(tmp_path.rglob("*.safetensors")))
    real = sum(tensor.nbytes for name, tensor in tensors.items() if not name.startswith(("random/", "trace/")))
    smaller = made.config.stage1.model_copy(update={"trainable": ("projection",)})
    config = made.config.model_copy(update={"stage1": smaller})
    assert size_of(config, "resume") == POINTS * real


def test_checkpoints(small, tmp_path):
    """Of a profile whose later stages train less than its first."""
    from tinygptv.ground.file_names import TRAINED
    from tinygptv.model import TinyGPTVForConditionalGeneration
    from tinygptv.model.adapters import freeze
    from tinygptv.model.profile import from_profile
    from tinygptv.model.stage_checkpoint import save_stage

    config = small()
    trainable = {
        "stage1": ("projection", "input_norm"),
        **dict.fromkeys(("stage2", "stage3", "stage4"), ("final_norm",)),
    }
    changed = {name: config.stage(name).model_copy(update={"trainable": parts}) for name, parts in trainable.items()}
    model, earlier, real = TinyGPTVForConditionalGeneration(from_profile(config.model, 0)), (), 0
    manifest = {"parent": None, "backbones": {}, "features": "", "seed": 0, "config": {}, "environment": {}}
    for name, parts in trainable.items():
        (tmp_path / name).mkdir()
        counted = {"stage": name, "trainable": freeze(model, parts).trainable, "changes": []}
        save_stage(model, tmp_path / name, manifest | counted, earlier)
        earlier = {*earlier, *parts}
        real += sum(tensor.nbytes for tensor in load_file(tmp_path / name / TRAINED).values())
    assert size_of(config.model_copy(update=changed), "checkpoints") == real


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_published_backbones_lie_in_the_format_of_the_profile(small, paper, tmp_path, dtype):
    from tinygptv.model import TinyGPTVForConditionalGeneration
    from tinygptv.model.backbones import formats_of
    from tinygptv.model.profile import from_profile

    config = small(runtime__dtype=dtype).model_copy(update={"backbones": paper.backbones})
    model, real = TinyGPTVForConditionalGeneration(from_profile(config.model, 0)), 0
    for part in (model.image_encoder, model.language_model):
        path = tmp_path / "part.safetensors"
        write_tensors(path, part.state_dict(), formats_of(part, getattr(torch, dtype)))
        real += path.stat().st_size
    assert size_of(config, "backbones") == pytest.approx(real, rel=0.05)  # the files have headers


def test_other_steps_hold_their_weights_and_a_batch(paper):
    sizes = measure(paper)
    features, evaluate, quantize = other_steps(paper, sizes)
    encoder = sizes.image_encoder.size("bfloat16", base_8bit=False)
    assert features.peak == encoder + 16 * encoding(paper, 448) + RESERVE
    assert evaluate.peak > quantize.peak
    tokens = paper.stage4.max_sequence_tokens + paper.evaluate.max_new_tokens
    one = paper.model_copy(update={"evaluate": paper.evaluate.model_copy(update={"batch_size": 1})})
    assert evaluate.peak - other_steps(one, sizes)[1].peak == 2 * 7 * tokens * 327_680  # keys and values, twice
    assert [step.change for step in (features, evaluate, quantize)] == [
        "features.batch_size",
        "evaluate.batch_size",
        "quantize.batch_size",
    ]
