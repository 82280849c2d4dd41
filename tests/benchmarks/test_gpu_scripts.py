"""The GPU benchmarks run alone, measure the project's own step, and say so where nothing was measured."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tinygptv.config.model import YOUNGER
from tinygptv.config.profiles import read_config
from tinygptv.ground.names import STAGES

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
GB = 10**9
SCRIPTS = ("gpu_memory", "gpu_step")
MEMORY = ("cached", "tower", "free", "8gb")


def start(script: str, *arguments: str, environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *arguments]
    return subprocess.Popen(
        command, env=environment, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.fixture
def module(monkeypatch):
    """``module("gpu_step")``: a script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return load


def test_torch_transformers_and_peft_are_enough(bare, tmp_path):
    trial = ("--device", "cpu", "--tiny", "--quick")
    step, memory = (
        start(script, *trial, *more, "--out", str(tmp_path / script), environment=bare, folder=tmp_path)
        for script, more in (
            ("gpu_step", ("--stages", "stage4", "--variants", "packed")),
            ("gpu_memory", ("--stages", "stage4", "--variants", "tower", "8gb")),
        )
    )
    for script, process in (("gpu_step", step), ("gpu_memory", memory)):
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert output.startswith("[1/")
        text = (tmp_path / script).read_text()
        content = json.loads(text)
        assert content["device"] and content["profile"] == "smoke"
        assert content["environment"].keys() >= {"torch", "transformers", "peft", "python"}
        assert platform.node() not in text
    speed = json.loads((tmp_path / "gpu_step").read_text())
    (row,) = speed["rows"]
    assert speed["status"] == row["status"] == "measured"
    assert (row["micro_batches"], row["tokens_of_a_step"]) == (1, 4096) and row["samples"] > 32
    assert row["tokens_per_s"] == pytest.approx(4096 / row["step_s"], rel=1e-3)
    assert len(row["steps_s"]) == 3 and len(row["losses"]) == len(row["norms"]) == 5
    assert row["losses"][-1] < row["losses"][0] and min(row["norms"]) > 0
    assert row["samples_per_s"] > 0 and row["ratio"] is None
    assert row["mfu"] is row["mfu_4n"] is row["hfu"] is row["peak_bytes"] is None
    found = json.loads((tmp_path / "gpu_memory").read_text())
    tower, small = found["rows"]
    assert (found["status"], tower["status"]) == ("measured in part", "measured")
    assert tower["measured"] == {
        "weights": tower["plan"]["weights"] + tower["plan"]["image_encoder"],
        **dict.fromkeys(("allocated", "held", "outside", "peak")),
    }
    assert small["status"] == "bitsandbytes is not installed"


def test_without_a_device_nothing_is_written(bare, tmp_path):
    out = tmp_path / "out.json"
    for process in [start(script, "--out", str(out), environment=bare, folder=tmp_path) for script in SCRIPTS]:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 2
        assert output == "" and len(errors.splitlines()) == 1 and "no CUDA device" in errors
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--device", "cpu"), "add --tiny"),
        (("--device", "cpu", "--tiny", "--set", "stage1.batchsize=2"), "has no key stage1.batchsize"),
    ],
)
def test_a_wrong_call_is_one_line(arguments, problem, bare, tmp_path):
    process = start("gpu_step", *arguments, environment=bare, folder=tmp_path)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and output == ""
    assert len(errors.splitlines()) == 1 and problem in errors


@pytest.mark.parametrize("profile", ["paper", "smoke"])
def test_a_profile_reads_as_the_project_reads_it(profile, module):
    path = ROOT / "configs" / f"{profile}.yaml"
    read, config = module("gpu_common").read_profile(path, {}), read_config(path)

    def plain(value):
        return (
            {key: plain(inner) for key, inner in vars(value).items()} if isinstance(value, SimpleNamespace) else value
        )

    for name in ("runtime", "model", "features", "quantize", *STAGES):
        expected = getattr(config, name).model_dump()
        if name == "model":
            expected["text"] = dict(YOUNGER) | expected["text"]
            expected["lora"] = {"mlp": False} | expected["lora"]
        if name in STAGES:
            stage = config.stage(name)
            expected |= {key: getattr(stage, key) for key in ("steps", "steps_per_repeat", "micro_batches")}
        assert plain(getattr(read, name)) == expected
    assert read.stage("stage4") is read.stage4


def test_other_values_are_those_of_their_keys(module):
    common = module("gpu_common")
    settings = dict(
        map(common.setting, ("stage3.micro_batch_size=2", "runtime.dtype=float32", "stage1.base_8bit=true"))
    )
    config = common.read_profile(ROOT / "configs" / "paper.yaml", settings)
    assert (config.stage3.micro_batch_size, config.runtime.dtype, config.stage1.base_8bit) == (2, "float32", True)
    assert config.stage4.micro_batch_size == 3


@pytest.fixture
def case(module, monkeypatch):
    """A worker, and a case of it that does not change this process."""
    worker = module("gpu_worker")
    monkeypatch.setattr(worker.runtime, "prepare", lambda *_: torch.device("cpu"))
    settings = {"stage4.gradient_checkpointing": True}
    given = {"profile": "smoke", "stage": "stage4", "device": "cpu", "settings": settings, "tower": True, "gpu": 24.0}
    return worker, worker.Case(**given, steps=2, warmup=1, seconds=9.0, plan_only=False, cache="")


def test_the_loops_own_step_is_measured(case, monkeypatch):
    worker, given = case
    seen = []
    own_step = worker.loop.optimizer_step

    def optimizer_step(state, batches, stage):
        seen.append((state, batches, stage))
        return own_step(state, batches, stage)

    monkeypatch.setattr(worker.loop, "optimizer_step", optimizer_step)
    found = worker.measure(given)
    assert found["status"] == "measured" and len(found["step_s"]) == 2 and len(found["losses"]) == len(seen) == 3
    state, batches, stage = seen[-1]
    assert [tuple(batch.input_ids.shape) for batch in batches] == [(2, stage.max_sequence_tokens)] * 8
    assert state.model.training and state.model.language_model.model.gradient_checkpointing
    assert state.optimizer.param_groups[0]["lr"] == stage.learning_rate.init
    assert any(".lora_A." in name for name in state.parameters)
    with torch.no_grad():  # features come from the image encoder, not from the batch
        again = worker.longest_step(worker.read_profile(ROOT / "configs" / "smoke.yaml", {}), stage)
    assert batches[0].image_features.shape == again[0].image_features.shape
    assert torch.equal(seen[0][1][0].image_features, batches[0].image_features)
    assert not state.model.image_encoder.training


def test_a_row_has_samples_of_real_lengths_and_as_many_tokens_as_asked_for(module):
    made = module("gpu_batches")
    found = json.loads(made.LENGTHS.read_text())
    counted = found["lengths"]
    assert sum(stage["batches"] for stage in found["stages"]) == 1000 and found["largest_relative_difference"] < 1e-6
    config = module("gpu_common").read_profile(ROOT / "configs" / "paper.yaml", {})
    lengths, more = made.real_lengths(config, 4096), config.model.qformer.num_query_tokens - counted["visual_tokens"]
    assert sum(lengths) == 4096 and lengths == made.real_lengths(config, 4096)
    assert {str(length - more) for length in lengths[:-1]} <= counted["samples"].keys()
    (batch,) = made.real_step(config, 4096)
    assert batch.attention_mask.sum(dim=1).tolist() == lengths
    assert batch.target_tokens == 4096 - len(lengths) * config.model.qformer.num_query_tokens


def test_out_of_memory_is_a_row(case, monkeypatch):
    worker, given = case

    def build(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has ...")

    monkeypatch.setattr(worker, "build", build)
    found = worker.measure(given)
    assert (found["status"], found["what"]) == ("out of memory", "CUDA out of memory")
    assert found["plan"]["memory"]["peak"] > 0


def test_medians_ratio_and_shares_of_the_peak(module):
    step, common = module("gpu_step"), module("gpu_common")

    def run(variant, *seconds, norms=(1.0, 0.5)):
        plan = {"operations": {"useful": 3e12, "executed": 4e12}, "operations_a_token": 5e10}
        sizes = {"samples": 4, "micro_batches": 2, "tokens": 65, "tokens_of_a_step": 250, "memory": {"peak": 9 * GB}}
        learned = {"losses": [3.0, 2.0], "norms": list(norms), "start_s": 1.0}
        status = {"status": "measured", "stage": "stage1", "variant": variant}
        return {"plan": plan, "step_s": list(seconds), **sizes, **learned, **status}

    peak = common.peak_operations({"name": "NVIDIA H100 80GB HBM3"})
    assert peak == 989.4e12 and common.peak_operations({"name": "NVIDIA H100 PCIe"}) is None
    lost = {"stage": "stage1", "variant": "tower", "status": "out of memory"}
    found = [run("cached", 0.1, 0.9, 0.1), run("again", 0.1), run("plain", 0.2), run("short", 0.1), lost]
    rows = [step.summary(one, peak) for one in found]
    step.compare(rows)
    assert [row["samples_per_s"] for row in rows] == [40.0, 40.0, 20.0, 40.0, None]
    assert [row["ratio"] for row in rows] == [2.0, 2.0, 1.0, None, None]
    assert [row["same_bits"] for row in rows] == [None, True, None, None, None]
    assert (rows[0]["mfu"], rows[0]["hfu"]) == (round(120 / 989.4, 4), round(160 / 989.4, 4))
    assert (rows[0]["tokens_per_s"], rows[0]["mfu_4n"]) == (2500.0, round(125 / 989.4, 4))
    assert rows[0]["peak_bytes"] == 9 * GB and step.summary(found[0], None)["mfu"] is None
    assert rows[4]["status"] == "out of memory"
    assert len(step.table(rows).splitlines()) == 6
    other = [step.summary(one, peak) for one in (found[0], run("again", 0.1, norms=(1.0, 0.5000001)))]
    step.compare(other)
    assert other[1]["same_bits"] is False


def test_memory_is_shown_beside_the_plan(module):
    memory = module("gpu_memory")
    plan = {"weights": 5 * GB, "image_encoder": 1 * GB, "reserve": 1 * GB, "peak": 11 * GB}
    found = {"weights": 6 * GB, "allocated": 8 * GB, "held": 9 * GB, "outside": 1 * GB, "peak": 10 * GB}
    row = {"stage": "stage3", "variant": "tower", "plan": {"memory": plan}, "memory": found}
    measured = memory.shown(row | {"status": "measured"})
    assert measured["ratio"] == {"weights": 1.0, "tensors": 0.8, "peak": round(10 / 11, 4)}
    lost = memory.shown(row | {"status": "out of memory"})
    assert lost["ratio"] is None and lost["measured"] == found
    table = memory.table([measured, lost, memory.shown({**row, "plan": {}, "status": "failed: so"})]).splitlines()
    assert table[1].split() == ["stage3", "tower", "6.00", "6.00", "10.00", "8.00", "11.00", "10.00", "measured"]
    assert table[3].split() == ["stage3", "tower", "-", "-", "-", "-", "-", "-", "failed:", "so"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_committed_results_are_whole_and_honest(script, module):
    content = json.loads((BENCHMARKS / "results" / f"{script}.json").read_text())
    rows = [(row["stage"], row["variant"]) for row in content["rows"]]
    grid = [(stage, variant) for stage in STAGES for variant in MEMORY]
    assert rows == (grid if script == "gpu_memory" else list(module("gpu_step").ROWS))
    statuses = {row["status"] for row in content["rows"]}
    documented = (ROOT / "docs" / "memory.md").read_text()
    if content["device"] is None:
        assert content["status"] == "not measured" and statuses == {"not measured"}
        assert "| not measured |" in documented
    else:
        assert content["environment"]["driver"] and "measured" in statuses
        assert content["device"] in documented


@pytest.mark.gpu
def test_a_stage_of_the_paper_stays_below_24_gb(tmp_path):
    out = tmp_path / "memory.json"
    command = [sys.executable, str(BENCHMARKS / "gpu_memory.py"), "--quick", "--out", str(out)]
    subprocess.run([*command, "--stages", "stage3", "--variants", "cached"], check=True, timeout=300)
    (row,) = json.loads(out.read_text())["rows"]
    assert row["status"] == "measured"
    assert row["measured"]["peak"] <= 24e9
    assert row["measured"]["allocated"] <= row["plan"]["peak"] - row["plan"]["reserve"]


@pytest.mark.gpu
def test_steps_of_the_smoke_profile_are_timed_on_the_device(tmp_path):
    out = tmp_path / "step.json"
    command = [sys.executable, str(BENCHMARKS / "gpu_step.py"), "--tiny", "--quick", "--out", str(out)]
    subprocess.run([*command, "--stages", "stage2"], check=True, timeout=300)
    content = json.loads(out.read_text())
    assert {row["status"] for row in content["rows"]} == {"measured"}
    assert content["environment"]["driver"] and content["rows"][0]["peak_bytes"] > 0


def test_the_case_of_thread_waiting_is_one_that_the_worker_knows(module):
    module("gpu_common")
    case, config = module("thread_waiting").CASE, read_config(ROOT / "configs" / "tiny.yaml")
    assert module("gpu_worker").Case(**case).stage == "stage4"
    assert not config.stage(case["stage"]).compile, "there is no folder for what is compiled"
