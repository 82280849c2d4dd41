"""A stage with ``epochs: 0``: what it would begin from is handed on, byte for byte, and the steps after it work."""

from __future__ import annotations

import json
import shutil

import torch
from safetensors.torch import load_file

from tinygptv.ground import runtime
from tinygptv.ground.files import sha256_file
from tinygptv.model import assembly
from tinygptv.model.weights import backbone_digests

FILES = {"trained.safetensors", "manifest.json", "history.json", "trace.jsonl", "cuts.json"}


def without_epochs(checkout, *stages):
    """The smoke profile with stages that train nothing."""
    text = checkout.config_path.read_text()
    for stage in stages:
        assert f"\n{stage}:" in text
        head, _, rest = text.partition(f"\n{stage}:")
        first, _, others = rest.partition("\n")
        lines = others.split("\n")
        end = next((i for i, line in enumerate(lines) if line and not line.startswith((" ", "#"))), len(lines))
        own = [line for line in lines[:end] if not line.startswith("  epochs:")]
        at = 1 + next((i for i, line in enumerate(own) if "<<:" in line), -1)
        text = f"{head}\n{stage}:{first}\n" + "\n".join([*own[:at], "  epochs: 0", *own[at:], *lines[end:]])
    checkout.config_path.write_text(text)
    for stage in stages:
        assert checkout.config.stage(stage).steps == 0


def manifest_of(checkout, stage):
    return json.loads((checkout.data / stage / "manifest.json").read_bytes())


def test_the_parent_is_handed_on_byte_for_byte(checkout, run, capfd):
    without_epochs(checkout, "stage2")
    parent = checkout.data / "stage1"
    assert run(checkout, "stage2") == 0
    assert "nothing to train" in capfd.readouterr().out
    made = checkout.data / "stage2"
    assert {path.name for path in made.iterdir()} == FILES
    assert (made / "trained.safetensors").read_bytes() == (parent / "trained.safetensors").read_bytes()
    assert (json.loads((made / "history.json").read_bytes()), (made / "trace.jsonl").read_bytes()) == ([], b"")
    assert json.loads((made / "cuts.json").read_bytes()) == {}
    own, before = manifest_of(checkout, "stage2"), manifest_of(checkout, "stage1")
    assert own["stage"] == "stage2"
    assert own["parent"] == {"stage": "stage1", "sha256": sha256_file(parent / "trained.safetensors")}
    assert (own["trainable"], own["features"], own["changes"]) == ({}, "", [])
    assert own["held"] == before["held"] != {}
    assert own["sha256"] == before["sha256"]
    assert own["config"]["stage2"]["epochs"] == 0


def test_the_stage_after_it_trains_as_from_its_parent(checkout, run):
    """Stage 3 goes on from stage 2's file, whichever stage made the bytes."""
    without_epochs(checkout, "stage2")
    assert run(checkout, "stage2") == 0
    assert run(checkout, "stage3") == 0
    own = manifest_of(checkout, "stage3")
    assert own["parent"]["sha256"] == manifest_of(checkout, "stage1")["sha256"] != own["sha256"]
    assert len((checkout.data / "stage3" / "trace.jsonl").read_text().splitlines()) == checkout.config.stage3.steps


def test_a_first_stage_hands_on_the_projection_that_it_would_train(checkout, run):
    """Neither shards nor features are needed, nor looked at."""
    config, backbones = checkout.config, checkout.data / "backbones"
    runtime.prepare(config.runtime, 7)
    fresh = assembly.assemble(config, backbones, with_tower=False).projector.state_dict()
    without_epochs(checkout, "stage1")
    for name in ("stage1", "shards", "features"):
        shutil.rmtree(checkout.data / name)
    assert run(checkout, "stage1") == 0
    found = load_file(checkout.data / "stage1" / "trained.safetensors")
    assert found.keys() == {f"projector.{name}" for name in fresh}
    for name, tensor in fresh.items():
        assert torch.equal(found[f"projector.{name}"], tensor)
    own = manifest_of(checkout, "stage1")
    assert (own["parent"], own["trainable"], own["held"].keys()) == (None, {}, {"projection"})
    assert own["backbones"] == backbone_digests(backbones)


def test_what_was_recorded_as_input_is_what_was_read(checkout, run):
    without_epochs(checkout, "stage2")
    assert run(checkout, "stage2") == 0
    spools = [path.read_text().splitlines() for path in checkout.state.glob("spool/**/*.jsonl")]
    own = [lines for lines in spools if lines and json.loads(lines[0])["step"] == "stage2"]
    events = [json.loads(line) for line in own[0]]
    assert [event["value"] for event in events if event.get("name") == "dvc.inputs"][-1] == "backbones,stage1"


def test_a_parent_of_other_backbones_is_refused(checkout, refused):
    without_epochs(checkout, "stage2")
    path = checkout.data / "backbones" / "language_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    refused(checkout, "stage2", "stage1 was trained with another language_model.safetensors", "repeat stage1")


def test_a_damaged_parent_is_refused(checkout, refused):
    without_epochs(checkout, "stage2")
    path = checkout.data / "stage1" / "trained.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    refused(checkout, "stage2", "stage1/trained.safetensors is missing or not the file of its manifest")


def test_all_stages_may_train_nothing(checkout, run):
    stages = ("stage1", "stage2", "stage3", "stage4")
    without_epochs(checkout, *stages)
    for step in (*stages, "evaluate"):
        assert run(checkout, step) == 0
    assert len({manifest_of(checkout, stage)["sha256"] for stage in stages}) == 1
    report = json.loads((checkout.root / "reports" / "smoke" / "evaluate.json").read_bytes())
    assert report["held_out"]["stage1"] == report["held_out"]["stage3"]
