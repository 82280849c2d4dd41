"""The model of scale: it gives back what was measured, names what a step waits for, and its page is current."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from tinygptv.ground.files import read_json

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
NAMES = ("scale_facts", "scale_exchange", "scale_recipe", "scale_steps", "scale_model")
PAIRS = 10**8
GPUS = (1, 2, 4, 7, 8, 9, 16, 24, 64, 100, 512)


@pytest.fixture
def model(monkeypatch):
    """Its modules by name, and what was measured as ``measured``."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    loaded = {name.removeprefix("scale_"): importlib.import_module(name) for name in NAMES}
    yield type("Model", (), {**loaded, "measured": loaded["facts"].measured()})
    for name in NAMES:
        sys.modules.pop(name, None)


def results(name):
    return read_json(BENCHMARKS / "results" / f"{name}.json")


def test_stage_1_takes_the_time_of_the_steps_that_were_measured(model):
    one = model.steps.Cluster(1)
    rows = [row for row in results("gpu_step")["rows"] if row["stage"] == "stage1" and row["steps_s"]]
    for row in rows:
        samples = row["samples"] * len(row["steps_s"])
        step = model.steps.shared_stage("stage1", samples, samples, one, model.measured)
        assert step.seconds - step.start == pytest.approx(sum(row["steps_s"]), rel=0.08)
        assert samples / (step.seconds - step.start) == pytest.approx(row["samples_per_s"], rel=0.08)
        assert model.recipe.operations("stage1") == row["operations_a_sample"]["executed"]
    assert len(rows) >= 2
    assert model.recipe.lora("stage2") == 31_457_280


def test_the_plan_alone_tells_nearly_the_same(model):
    """35 % of the card's peak, which the plan assumes, beside what was measured."""
    from tinygptv.planning.compute import PEAK_TFLOPS, UTILISATION

    planned = model.recipe.operations("stage1") * 64 / (PEAK_TFLOPS["H100 SXM"] * 1e12 * UTILISATION)
    assert model.recipe.leaf_seconds("stage1", model.measured) == pytest.approx(planned, rel=0.15)


def test_shards_and_features_take_what_was_measured_on_two_cores(model):
    found, config = results("data_scale")["steps"], model.recipe.paper()
    for number, seconds in model.measured.shards.items():
        step = model.steps.shards(number, model.measured.cores, model.measured, config)
        assert step.seconds == pytest.approx(seconds, rel=0.05)
        rate = found["shards"]["images_per_second"][str(number)]
        assert number / step.seconds == pytest.approx(rate[0] if isinstance(rate, list) else rate, rel=0.05)
        peak = found["shards"]["peak_mib"][str(number)]["step"][0]
        assert step.mib == pytest.approx(peak, rel=0.05)
    start, _ = model.facts.fitted(model.measured.features)
    cluster = model.steps.Cluster(1)
    for number, seconds in model.measured.features.items():
        cores = model.steps.features(number, cluster, model.measured, config).busy["cores"]
        assert start + cores * cluster.cores / model.measured.cores == pytest.approx(seconds, rel=0.1)


def test_memory_does_not_grow_but_for_the_index(model):
    many = model.steps.estimate(10**9, model.steps.Cluster(8)).steps
    assert many["shards"].mib < 310
    index = results("data_scale")["start"]
    assert model.steps.index_mib(index["records"], model.measured) == index["step 0"]["of_mapped_files_mib"]
    assert many["stage1"].mib == pytest.approx(index["step 0"]["of_mapped_files_mib"] * 10**9 / index["records"])


def test_answers_take_what_was_measured(model, monkeypatch):
    asked = results("evaluate_scale")
    for number, seconds in asked["seconds"].items():
        monkeypatch.setattr(model.steps, "QUESTIONS", int(number))
        cluster = model.steps.Cluster(1)
        step = model.steps.evaluate(cluster, model.measured, model.recipe.paper())
        start, _ = model.facts.fitted(model.measured.evaluate)
        once = step.busy["cores"] / len(model.recipe.paper().evaluate.presets)
        assert start + once * cluster.cores / asked["cores"] == pytest.approx(seconds, rel=0.05)
        assert step.mib == pytest.approx(asked["peak_mib"][number], rel=0.05)


@pytest.mark.parametrize("pairs", [10**7, PAIRS])
def test_more_gpus_are_never_slower_and_more_pairs_never_faster(model, pairs):
    cases = [model.steps.estimate(pairs, model.steps.Cluster(gpus)) for gpus in GPUS]
    whole = [case.seconds for case in cases]
    assert whole == sorted(whole, reverse=True)
    for name in cases[0].steps.keys() - {"copy"}:  # one machine has nothing to copy
        seconds = [case.steps[name].seconds for case in cases]
        assert seconds == sorted(seconds, reverse=True), name
    for case in cases:
        twice = model.steps.estimate(2 * pairs, case.cluster)
        assert twice.seconds > case.seconds and twice.usd > case.usd and twice.kept == 2 * case.kept


@pytest.mark.parametrize(
    ("gpus", "changed", "bottleneck"),
    [
        (1, {}, "features: image tower"),
        (1, {"ADDRESSES_A_SECOND_A_NODE": 1.0}, "fetch: hosts"),
        (1, {"TOWER_SECONDS_OF_64": 1e-6}, "stage1: GPU"),
        (1, {"CORES_A_GPU": 0.1}, "features: cores"),
        (64, {"STORE_GB_A_SECOND_A_NODE": 0.01}, "copy: store"),
        (64, {}, "download: one process"),
        (64, {"DISK_TB_A_NODE": 1.0}, "disk, then download: one process"),
    ],
)
def test_the_bottleneck_is_what_was_made_slow(model, monkeypatch, gpus, changed, bottleneck):
    for name, value in changed.items():
        monkeypatch.setattr(model.steps, name, value)
    assert model.steps.estimate(PAIRS, model.steps.Cluster(gpus)).bottleneck == bottleneck


def test_a_slow_card_between_machines_is_left_alone(model):
    links = model.exchange.Links(node_gb_a_second=0.01)
    step = model.steps.shared_stage("stage2", PAIRS, PAIRS, model.steps.Cluster(64, links), model.measured)
    assert step.gpus == 8 and step.bound == "GPU"
    slow = model.exchange.Links(gpu_gb_a_second=0.1)
    exact = model.exchange.Exchange(model.measured.gradient_bytes["stage2"], 8, 8).exact_seconds(slow)
    assert exact > model.recipe.leaf_seconds("stage2", model.measured)


def test_bytes_of_exact_sums_counted_one_by_one(model):
    from tinygptv.ground.workers import Workers
    from tinygptv.training.sums import nodes_of

    size = 840.0
    for processes in (1, 2, 3, 4, 7, 8):
        for leaves in (processes, 3 * processes, 8 * processes, 5):
            sums = model.exchange.Exchange(size, leaves, processes)
            sent = [0.0] * processes
            for rank in range(processes):
                nodes = nodes_of(Workers(rank, processes).share(leaves), leaves)
                sent[rank] = (len(nodes) + 1) * (processes - 1) * size / processes
            assert sums.exact_bytes == pytest.approx(max(sent))
    even = model.exchange.Exchange(size, 64, 8)
    assert even.exact_bytes == even.plain_bytes == 2 * size * 7 / 8


def test_sums_within_machines_first_send_what_a_ring_sends(model):
    sums, links = model.exchange.Exchange(1e9, 64, 64), model.exchange.Links()
    assert sums.by_machine_seconds(links) < sums.plain_seconds(links) < sums.exact_seconds(links) / 3


def test_the_page_is_current(model):
    text = (ROOT / "docs" / "scale.md").read_text()
    assert model.model.page(text) == text, "run `python benchmarks/scale_model.py`"
    with pytest.raises(AssertionError, match="no place for"):
        model.model.page(text.replace("scale_model.py: moves", "scale_model.py: moved"))


def test_everything_that_a_step_waits_for_has_a_remedy(model):
    cases = [
        model.steps.estimate(pairs, model.steps.Cluster(gpus)) for pairs in (1, *model.model.PAIRS) for gpus in GPUS
    ]
    waited = {step.bound for case in cases for step in case.steps.values()}
    assert waited <= model.model.MOVES.keys()
    assumed = {name for name in vars(model.facts) if name.isupper()} - {"RESULTS"}
    assert {name for name, _, _ in model.model.ASSUMED} | {
        "TOWER_SECONDS_OF_64",
        "LARGE_PICTURES_SECONDS_OF_16",
    } == assumed


def test_a_case_in_text_and_in_json(model, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["scale_model.py", *arguments])
        model.model.main()
        return capsys.readouterr().out

    text = run("--pairs", "1000000", "--gpus", "8")
    assert text.startswith("1,000,000 pairs, 8 GPUs: ") and "\nstage4 " in text
    (found,) = json.loads(run("--pairs", "1000000", "--gpus", "8", "--json"))
    assert found["seconds"] == pytest.approx(sum(step["seconds"] for step in found["steps"].values()))
    assert (found["samples_a_step"], found["steps"]["stage4"]["gpus"]) == (512, 1)
    with pytest.raises(SystemExit) as ended:
        run("--gpus", "0")
    assert ended.value.code == 2
