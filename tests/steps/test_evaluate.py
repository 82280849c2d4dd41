"""What is missing, cut or too long for ``evaluate`` and the stages is said, and the rest is in the report."""

from __future__ import annotations

import json
import shutil
import weakref
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO

import pytest

from tests.checkouts import Checkout, run_step
from tests.evaluation.asked import NAMES
from tinygptv.cli import main
from tinygptv.data.record_json import parse_sample
from tinygptv.data.records import Turn
from tinygptv.data.shards import read_samples, write_shards
from tinygptv.data.summary import tars
from tinygptv.data.views import write_views
from tinygptv.evaluation import subjects
from tinygptv.evaluation.stages import open_stage, open_start
from tinygptv.ground.children import child, event
from tinygptv.ground.errors import DataError
from tinygptv.ground.runtime import free_memory
from tinygptv.promotion.decide import Decision, on_report
from tinygptv.results import results_table
from tinygptv.steps import quantize

PICTURES = ("loss.png", "stages.png", "answers.png", "worst.png")


@pytest.fixture(scope="module")
def with_stage4(with_stage1, tmp_path_factory, patches):
    """All four stages have run. Read only."""
    made = Checkout(shutil.copytree(with_stage1.root, tmp_path_factory.mktemp("stage4") / "checkout"))
    for stage in ("stage2", "stage3", "stage4"):
        assert run_step(made.root, stage, patches) == 0
    return made


@dataclass(frozen=True)
class Evaluated:
    checkout: Checkout
    out: str
    alive: list[list[str]]
    """As of ``watch``."""


@pytest.fixture(scope="module")
def evaluated(with_stage4, tmp_path_factory):
    """``evaluate`` has run after them. Read only."""
    made, out = Checkout(tmp_path_factory.mktemp("evaluated") / "checkout"), StringIO()
    shutil.copytree(with_stage4.root, made.root)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        alive = watch(patch)
        assert run_step(made.root, "evaluate", patch) == 0
    return Evaluated(made, out.getvalue(), alive)


@pytest.fixture
def trained(with_stage4, tmp_path):
    return Checkout(shutil.copytree(with_stage4.root, tmp_path / "trained"))


@pytest.fixture
def asked(evaluated, tmp_path):
    """A checkout in which the answers of all models are kept, and nothing else that ``evaluate`` made."""
    made = Checkout(shutil.copytree(evaluated.checkout.root, tmp_path / "asked"))
    shutil.rmtree(made.data / "evaluate")
    shutil.rmtree(made.root / "reports")
    return made


def write(checkout, split, samples):
    """Put samples in the place of a split, as if the step ``shards`` had."""
    shards = checkout.data / "shards"
    write_shards(shards / "easy_vqa", split, samples, images_per_shard=16)
    write_views(shards, checkout.config)


def keep(checkout, split, tasks):
    """Leave the records of these tasks in a split."""
    folder = checkout.data / "shards" / "easy_vqa"
    samples = []
    for sample in read_samples(tars(folder, f"{split}-*.tar")):
        if records := tuple(record for record in sample.record.records if record.task in tasks):
            record = replace(sample.record, records=records)
            samples.append(parse_sample(record.key, record.to_json(), sample.image_bytes))
    write(checkout, split, samples)


def not_opened(*_):
    pytest.fail("a model was opened")


def report(checkout, step):
    return json.loads((checkout.root / "reports" / "smoke" / f"{step}.json").read_bytes())


@pytest.mark.parametrize("missing", [("caption",), ("vqa",), ("refer", "caption")])
def test_a_task_without_test_records(asked, run, capfd, missing):
    others = [task for task in NAMES if task not in missing]
    keep(asked, "test", others)
    assert run(asked, "evaluate") == 0
    out = capfd.readouterr().out
    for task in missing:
        assert f"test set: no record of the task {task}; {NAMES[task]} is left out" in out
    found = report(asked, "evaluate")
    assert set(found["benchmarks"]) == {NAMES[task] for task in others}
    assert set(found["held_out"]["stage4"]) == set(NAMES.values())
    assert "no image" in found["verdict"] or "use the images" in found["verdict"]
    assert f"{found['verdict']}\n" in out
    assert all((asked.root / "reports" / "smoke" / name).stat().st_size for name in PICTURES)
    assert NAMES[others[0]] in results_table(asked.root, "smoke")
    every = dict.fromkeys(NAMES.values(), 0.0)
    gate = asked.config.register_.gate.model_copy(update={"min_value": every, "margin": every})
    decision = Decision(on_report(found, 1, gate))
    assert not decision.passed
    for task in missing:
        assert f"{NAMES[task]}: the benchmark is missing" in decision.reasons


def test_tasks_without_training_records_have_baselines_of_what_is_asked(asked, run, capfd):
    for split in ("train", "val"):
        keep(asked, split, ["vqa", "identify"])
    assert run(asked, "evaluate") == 0
    out = capfd.readouterr().out
    assert (
        "test set: no training record of the task refer; the baselines of easy_vqa_refer are chosen on what is asked"
    ) in out
    assert "held-out slice: no record of the task caption; easy_vqa_caption is left out" in out
    found = report(asked, "evaluate")
    refer, vqa = found["benchmarks"]["easy_vqa_refer"], found["benchmarks"]["easy_vqa"]
    assert (refer["baselines_of"], vqa["baselines_of"]) == ("split", "training")
    assert refer["trivial"] is not None and vqa["majority"] is not None
    assert set(found["held_out"]["stage1"]) == {"easy_vqa"}


def test_another_preset_and_the_start_stand_beside(asked, run, capfd):
    asked.edit("presets: [as_trained]", "presets: [as_trained, authors_released]")
    assert run(asked, "evaluate") == 0
    found = report(asked, "evaluate")
    assert list(found["presets"]) == ["authors_released"]
    beside = found["presets"]["authors_released"]
    assert set(beside) == set(found["benchmarks"]) == set(NAMES.values())
    assert {entry["preset"] for entry in beside.values()} == {"authors_released"}
    assert {entry["preset"] for entry in found["benchmarks"].values()} == {"as_trained"}
    assert set(found["held_out"]) == {"start", "stage1", "stage2", "stage3", "stage4"}
    out = capfd.readouterr().out
    assert "start, held-out slice: easy_vqa " in out and "test set, authors_released: easy_vqa " in out


def test_the_command_measures_a_stage_by_the_answers_of_the_step(evaluated, asked, monkeypatch, capsys):
    monkeypatch.setattr(subjects, "open_stage", not_opened)  # so that nothing can be asked again
    monkeypatch.chdir(asked.root)
    out = asked.root / "stage4.json"
    assert main(["evaluate", "stage4", "--profile", "smoke", "--json", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    whole = report(evaluated.checkout, "evaluate")
    assert {key: told[key] for key in ("benchmarks", "by_type")} == {
        key: whole[key] for key in ("benchmarks", "by_type")
    }
    assert json.loads(out.read_bytes()) == told


def test_the_command_asks_some_benchmarks_in_a_preset(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained.root)
    command = ["evaluate", "stage1", "--profile", "smoke", "--benchmarks", "easy_vqa_caption, easy_vqa_refer"]
    assert main([*command, "--preset", "authors_released"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["easy_vqa_caption", "stage1"], ["easy_vqa_refer", "stage1"]]


def test_another_number_of_questions_is_an_error_before_any_is_asked(trained, refused, monkeypatch):
    monkeypatch.setattr(subjects, "open_start", not_opened)
    trained.edit("licence: MIT", "licence: MIT\n    questions: 12578")
    refused(trained, "evaluate", "data.easy_vqa:", "questions in the test set", "but 12578 are expected")


def test_cut_answers_are_counted(evaluated):
    """The smoke model has learned nothing, so that its answers go on until they are cut."""
    found = report(evaluated.checkout, "evaluate")
    predictions = json.loads((evaluated.checkout.data / "evaluate" / "predictions.json").read_bytes())
    for task, name in NAMES.items():
        assert found["benchmarks"][name]["cut"] == sum(p["cut"] for p in predictions if p["task"] == task)
    cut = found["benchmarks"]["easy_vqa"]["cut"]
    assert cut > 0
    assert f"{cut} cut at evaluate.max_new_tokens" in evaluated.out
    assert all("cut" in entry for stage in found["held_out"].values() for entry in stage.values())


def test_a_question_that_is_too_long_is_named_before_the_first_answer(trained, refused, monkeypatch):
    from tinygptv.model.answerer import Answerer

    def asked(*_, **__):
        raise AssertionError

    monkeypatch.setattr(Answerer, "answer", asked)
    folder = trained.data / "shards" / "easy_vqa"
    samples = list(read_samples(tars(folder, "test-*.tar")))
    first, last = samples[-1].record.records[0], samples[-1].record.records[-1]
    long = tuple(
        replace(r, turns=(Turn("why? " * 150, "yes"),)) if r == first else r for r in samples[-1].record.records
    )
    talk = (*(Turn("what " * 9, "red " * 9) for _ in range(20)),)
    record = replace(samples[-1].record, records=(*long, replace(last, id="talk", task="vqa", turns=talk)))
    samples[-1] = parse_sample(record.key, record.to_json(), samples[-1].image_bytes)
    write(trained, "test", samples)
    refused(trained, "evaluate", f"the questions of 1 records are too long: {first.id};", "max_new_tokens")


def test_a_question_too_long_for_a_stage_is_named_before_its_first_step(trained, refused):
    trained.edit("max_sequence_tokens: 256", "max_sequence_tokens: 12")
    refused(
        trained, "stage4", "records have a question that leaves no room for an answer", "stage4.max_sequence_tokens"
    )


def test_data_of_ones_own_without_a_test_split(trained, run, capfd, monkeypatch):
    """``evaluate`` and ``quantize`` end well and say what they leave out; no model is opened to be asked nothing."""
    monkeypatch.setattr(subjects, "open_stage", not_opened)
    monkeypatch.setattr(subjects, "open_start", not_opened)
    trained.edit("format: easy_vqa", "format: llava\n    files: [cats.json]")
    for split in ("val", "test"):
        write(trained, split, [])
    assert run(trained, "evaluate") == 0, capfd.readouterr().err
    out = capfd.readouterr().out
    for where in ("held-out slice", "test set"):
        assert f"{where}: no record of the task refer; easy_vqa_refer is left out\n" in out
    cuts = json.loads((trained.data / "stage4" / "cuts.json").read_bytes())
    assert report(trained, "evaluate")["cuts"]["stage4"] == cuts != {}
    assert run(trained, "quantize") == 0, capfd.readouterr().err
    assert "nothing was compared with the unquantized model" in capfd.readouterr().out
    quantized = report(trained, "quantize")
    assert (quantized["benchmarks"], quantized["agreement"]["value"]) == ({}, None)
    reasons = Decision(on_report(quantized, 1, trained.config.register_.gate)).reasons
    assert "easy_vqa: the benchmark is missing" in reasons
    with pytest.raises(DataError, match="has no figures: no data set of the profile has test records"):
        results_table(trained.root, "smoke")
    assert "| easy_vqa | llava | MIT |" in (trained.data / "quantize" / "model" / "README.md").read_text()


@pytest.mark.pipeline
@pytest.mark.parametrize("tasks", [("identify",), ()])
def test_nothing_to_ask(trained, run, capfd, tasks):
    for split in ("val", "test"):
        keep(trained, split, tasks)
    for step in ("evaluate", "quantize"):
        assert run(trained, step) == 0, capfd.readouterr().err
    out = capfd.readouterr().out
    assert "nothing was compared with the unquantized model" in out
    assert report(trained, "evaluate")["benchmarks"] == {}
    quantized = report(trained, "quantize")
    assert (quantized["benchmarks"], quantized["agreement"]["value"]) == ({}, None)
    assert all((trained.root / "reports" / "smoke" / name).stat().st_size for name in PICTURES)
    assert not Decision(on_report(quantized, 1, trained.config.register_.gate)).passed


def watch(patch):
    """Which stages' models are in memory whenever another is opened, and when ``quantize`` lets its package answer."""
    opened, found = [], []

    def look():
        found.append([stage for stage, reference in opened if reference() is not None])

    def watched(opens):
        def open_it(config, stage, *folders):
            look()
            model = opens(config, stage, *folders)
            opened.append((stage, weakref.ref(model.model)))
            return model

        return open_it

    class Told:
        def __init__(self):
            self.event = event()

        def set(self):
            look()
            self.event.set()

    patch.setattr(subjects, "open_start", watched(open_start))
    for module in (subjects, quantize):
        patch.setattr(module, "open_stage", watched(open_stage))
    patch.setattr(quantize, "event", Told)
    patch.setattr(quantize, "child", lambda target, job, told: child(target, job, told.event))
    return found


def test_evaluate_has_one_model_in_memory_at_a_time(evaluated):
    assert evaluated.alive == [[]] * 5


@pytest.mark.pipeline
def test_quantize_has_one_model_in_memory_at_a_time(trained, run, monkeypatch):
    alive = watch(monkeypatch)
    assert run(trained, "evaluate") == 0
    free_memory()  # as its process would by its end
    assert run(trained, "quantize") == 0
    assert alive[5:] == [[], []]
