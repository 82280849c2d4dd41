"""Profiles that start from finished weights, through the steps that train and judge."""

from __future__ import annotations

import torch
from safetensors.torch import load_file

from tests.steps.profiles import Mine
from tinygptv.cli import main
from tinygptv.ground.files import read_json, sha256_file
from tinygptv.ground.names import STAGES
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.model.folders import write_folder


def test_a_profile_that_trains_its_last_stage_alone_goes_through_all_steps(checkout, monkeypatch, capfd):
    """From the first stage of `smoke`: its weights reach stage 4, which trains, and everything after it works."""
    mine = Mine(checkout.root, monkeypatch, capfd)
    mine.write("smoke/stage1", idle=STAGES[:-1])
    mine.run("download", "shards", "backbones", "features", *STAGES, "evaluate", "quantize")
    begin = sha256_file(checkout.data / "stage1" / "trained.safetensors")
    assert {mine.manifest(stage)["sha256"] for stage in STAGES[:-1]} == {begin}
    last = mine.manifest("stage4")
    assert (last["parent"], last["sha256"] == begin) == ({"stage": "stage3", "sha256": begin}, False)
    assert len((mine.data / "stage4" / "trace.jsonl").read_text().splitlines()) == mine.config.stage4.steps
    views = {stage: read_json(mine.data / "shards" / "views" / f"{stage}.json") for stage in STAGES}
    assert [stage for stage in STAGES if views[stage]] == ["stage4"]
    card = (mine.data / "quantize" / "model" / "README.md").read_text()
    assert f"| init (smoke/stage1) | `{last['init']['sha256']}` |" in card
    report = read_json(mine.root / "reports" / "mine" / "evaluate.json")
    assert report["held_out"]["stage1"] == report["held_out"]["stage3"]


def test_a_stage_of_the_authors_is_gone_on_from(checkout, make_model, processor, monkeypatch, capfd, tmp_path):
    """As docs/checkpoints.md has it: `import-checkpoint`, `import-stage`, then `features` and `stage4`."""
    mine, theirs, model = Mine(checkout.root, monkeypatch, capfd), tmp_path / "theirs", checkout.config.model
    write_folder(make_model(seed=9), processor, tmp_path / "model", max_new_tokens=4)
    assert main(["export-checkpoint", str(tmp_path / "model"), str(theirs), "--form", "authors"]) == 0
    options = {name: theirs / f"{name}.safetensors" for name in ("phi", "vision", "qformer", "checkpoint")}
    options |= {"tokenizer": tmp_path / "model", "image-size": 32, "text-heads": model.text.num_attention_heads}
    options |= {f"{part}-heads": getattr(model, part).num_attention_heads for part in ("vision", "qformer")}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["import-checkpoint", str(tmp_path / "imported"), *words]) == 0

    without = {stage: read_yaml(checkout.config_path)[stage] | {"trainable": ["projection"]} for stage in STAGES}
    mine.write("smoke", idle=(), **without)
    mine.run("download", "shards")
    assert mine.import_stage(tmp_path / "imported", "stage3") == 0, capfd.readouterr().err
    mine.run("features", "stage4")
    begin, last = load_file(mine.data / "stage3" / "trained.safetensors"), mine.manifest("stage4")
    expected = make_model(seed=9).projector.state_dict()
    assert all(torch.equal(begin[f"projector.{name}"], tensor) for name, tensor in expected.items())
    assert last["parent"] == {"stage": "stage3", "sha256": mine.manifest("stage3")["sha256"]}
    assert len((mine.data / "stage4" / "trace.jsonl").read_text().splitlines()) == mine.config.stage4.steps
