"""Whatever the stages' lists of what trains, nothing that one of them learned is lost on the way to the package."""

from __future__ import annotations

import json
import shutil
from typing import get_args

import pytest
import torch
from torch.testing import assert_close

from tests.steps.test_train import stop_after
from tinygptv.config import Part
from tinygptv.evaluation.stages import open_stage
from tinygptv.ground import file_names
from tinygptv.ground.files import sha256_file
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.model import assembly, int8, stage_checkpoint, weights
from tinygptv.model.adapters import merge_lora, trainable_parameters
from tinygptv.model.folders import write_folder
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.steps.train import load_model
from tinygptv.training import loop

CPU = torch.device("cpu")
PARTS = get_args(Part)
NORMS = ("input_norm", "qk_norm", "rms_norm", "final_norm")


def others(part):
    return tuple(other for other in PARTS if other != part)


LISTS = {
    "shrinking": lambda part: (PARTS, (*NORMS, part), (part,), (part,)),
    "growing": lambda part: ((part,), (part,), (*NORMS, part), PARTS),
    "alternating": lambda part: ((part,), others(part), (part,), others(part)),
    "ever the same": lambda part: ((part,),) * 4,
    "once": lambda part: ((part,), ("final_norm",), ("final_norm",), ("final_norm",)),
}
"""A part to what each of the four stages trains."""


def logits(model):
    """Of a fixed text and fixed image features."""
    was_training = model.training
    queries, width = model.config.num_query_tokens, model.config.qformer_config.hidden_size
    ids_BT = torch.tensor([[5, *[model.config.image_token_id] * queries, 7, 300, 12]])
    features_BQD = torch.linspace(-1, 1, queries * width).reshape(1, queries, width)
    with torch.no_grad():
        found_BTV = model.eval()(input_ids=ids_BT, image_features=features_BQD, use_cache=False).logits
    model.train(was_training)
    return found_BTV


def with_lists(config, lists):
    """A profile whose stages train these."""
    stages = {
        name: config.stage(name).model_copy(update={"trainable": tuple(dict.fromkeys(groups))})
        for name, groups in zip(STAGES, lists, strict=True)
    }
    return config.model_copy(update=stages)


def reopened(config, stage, folder, backbones):
    torch.manual_seed(999)  # a projection or adapters that were drawn again would be others
    model = assembly.assemble(config, backbones, with_tower=False)
    stage_checkpoint.load_stage(model, folder, stage, config, backbones)
    return model


def save(model, table, earlier, folder, backbones):
    """A stage's checkpoint, as the step writes it."""
    folder.mkdir()
    manifest = {"stage": folder.name, "parent": None, "features": "", "seed": 0, "config": {}, "environment": {}}
    manifest |= {"backbones": weights.backbone_digests(backbones), "trainable": table.trainable, "changes": []}
    stage_checkpoint.save_stage(model, folder, manifest, earlier.groups if earlier else ())
    return folder


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("part", PARTS)
def test_a_chain_of_checkpoints_holds_what_every_stage_trained(part, kind, smoke, backbones, tmp_path):
    """Training is stood in for by other values in all that trains."""
    config, parent, learned, before = with_lists(smoke, LISTS[kind](part)), None, set(), None
    for name in STAGES:
        model, table, earlier = load_model(config, name, backbones, parent, CPU)
        if before is not None:
            assert_close(logits(model), before, rtol=0, atol=0)  # fresh adapters do nothing yet
        for parameter in trainable_parameters(model).values():
            parameter.data += 0.1 * torch.randn(parameter.shape)
        before = logits(model)
        parent = save(model, table, earlier, tmp_path / name, backbones)
        learned |= set(table.trainable)
        assert_close(logits(reopened(config, name, parent, backbones)), before, rtol=0, atol=0)
        written = stage_checkpoint.read_manifest(parent, name)
        assert set(written.trainable) == set(config.stage(name).trainable)
        assert set(written.held) == {*learned, "projection"}
        stored = weights.load_weights(parent / file_names.TRAINED)
        assert sum(written.held.values()) == sum(tensor.numel() for tensor in stored.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_base_in_fewer_bits_changes_nothing_of_what_is_handed_on(smoke, backbones, tmp_path, dtype):
    """Every stage holds its own values and those of the stages before in float32, none of them out of 8 bits."""
    lists = (("projection", "norm_biases"), ("lora",), ("rms_norm",), ("final_norm", "lora"))
    config, parent, learned = with_lists(smoke, lists), None, {}
    small = {name: config.stage(name).model_copy(update={"base_8bit": True}) for name in ("stage2", "stage4")}
    small["runtime"] = config.runtime.model_copy(update={"dtype": dtype})
    config = config.model_copy(update=small)
    for name in STAGES:
        model, table, earlier = load_model(config, name, backbones, parent, CPU)
        for own, parameter in trainable_parameters(model).items():
            parameter.data += 0.1 * torch.randn(parameter.shape)
            learned[own] = parameter.detach().clone()
        parent = save(model, table, earlier, tmp_path / name, backbones)
        stored = weights.load_weights(parent / file_names.TRAINED)
        assert stored.keys() == learned.keys()
        assert all(torch.equal(stored[own], value) for own, value in learned.items())


FOUR_LISTS = {
    "shrinking": (("projection", *NORMS, "norm_biases"), ("projection", "lora"), ("lora",), ("lora",)),
    "growing": (("lora",), ("lora", *NORMS), ("lora", *NORMS, "norm_biases"), PARTS),
    "alternating": (("projection", "norm_biases"), ("lora",), ("projection",), ("rms_norm", "lora")),
    "other parts in every stage": (("projection", "norm_biases"), ("lora",), NORMS[:3], ("final_norm",)),
}


@pytest.mark.parametrize("lists", FOUR_LISTS.values(), ids=FOUR_LISTS)
def test_the_model_as_trained_reopened_packed_and_exported_has_the_same_logits(
    checkout, run, monkeypatch, tmp_path, lists
):
    content = read_yaml(checkout.config_path)
    for name, groups in zip(STAGES, lists, strict=True):
        content[name]["trainable"] = groups
    checkout.config_path.write_text(json.dumps(content))
    shutil.rmtree(checkout.data / "stage1")
    trained, train = {}, loop.train

    def train_and_look(state, *arguments, **how):
        train(state, *arguments, **how)
        trained[len(trained)] = logits(state.model)

    monkeypatch.setattr(loop, "train", train_and_look)
    for number, name in enumerate(STAGES):
        assert run(checkout, name) == 0
        found = reopened(checkout.config, name, checkout.data / name, checkout.data / "backbones")
        assert_close(logits(found), trained[number], rtol=0, atol=0)

    torch.manual_seed(999)
    opened = open_stage(checkout.config, "stage4", checkout.data / "backbones", checkout.data / "stage4")
    assert_close(logits(opened.model), trained[3], rtol=0, atol=0)
    merge_lora(opened.model)
    packed = {}

    def look(source, *_, **__):
        packed["source"] = logits(VisionLanguageModel.from_folder(source).model)

    with monkeypatch.context() as patch:
        patch.setattr(int8, "quantize_folder", look)
        int8.save_quantized(opened, tmp_path / "8bit", outlier_threshold=0.0, max_new_tokens=4)
    assert_close(packed["source"], trained[3])
    write_folder(opened.model, opened.processor, tmp_path / "export", max_new_tokens=4)
    assert_close(logits(VisionLanguageModel.from_folder(tmp_path / "export").model), trained[3])


def test_a_stage_that_trains_less_goes_on_after_a_kill_with_the_same_bytes(checkout, run):
    content = read_yaml(checkout.config_path)
    content["stage2"]["trainable"] = ["final_norm"]
    checkout.config_path.write_text(json.dumps(content))
    assert run(checkout, "stage2") == 0
    once = sha256_file(checkout.data / "stage2" / file_names.TRAINED)
    shutil.rmtree(checkout.data / "stage2")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 7)
        assert run(checkout, "stage2") == 143
    assert run(checkout, "stage2") == 0
    assert sha256_file(checkout.data / "stage2" / file_names.TRAINED) == once
    before = weights.load_weights(checkout.data / "stage1" / file_names.TRAINED)
    after = weights.load_weights(checkout.data / "stage2" / file_names.TRAINED)
    assert {name for name in after if not torch.equal(after[name], before[name])} == {
        "language_model.model.final_layernorm.weight"
    }
    manifest = json.loads((checkout.data / "stage2" / file_names.MANIFEST).read_bytes())
    assert manifest["trainable"].keys() == {"final_norm"}
    assert manifest["held"].keys() == set(checkout.config.stage1.trainable)
