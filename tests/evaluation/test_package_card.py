"""The card that lies in a package's folder."""

from __future__ import annotations

from tinygptv.config import DataSet
from tinygptv.evaluation.package_card import model_card, trained_on

REPORT = {
    "benchmarks": {"easy_vqa": {"metric": "exact match", "value": 0.98765, "ci95": [0.9, 0.99999], "n": 12}},
    "agreement": {"value": 0.75, "n": 12},
    "seed": 7,
}


def test_a_card_has_front_matter_results_and_what_it_was_made_of():
    data = {"cats": DataSet(format="llava", licence="CC0 | mine")}
    lines = model_card("tiny", REPORT, {"stage1": "ab", "shards": "cd"}, data).split("\n")
    assert lines[:6] == [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "license: apache-2.0",
        "---",
        "# TinyGPT-V, profile tiny, 8 bits",
    ]
    assert "| easy_vqa | exact match | 0.9877 | 0.9000 to 1.0000 | 12 |" in lines
    assert "Answers equal to the unquantized model's: 0.7500." in lines
    assert lines[-11:] == [
        "| trained on | format | licence |",
        "|---|---|---|",
        "| cats | llava | CC0 / mine |",
        "",
        "Made from these, with seed 7:",
        "",
        "| step | SHA-256 |",
        "|---|---|",
        "| stage1 | `ab` |",
        "| shards | `cd` |",
        "",
    ]


def test_a_number_that_is_undefined_is_said():
    memes = {"metric": "auroc", "value": None, "ci95": None, "n": 3}
    card = model_card("tiny", {**REPORT, "benchmarks": {"memes": memes}}, {}, {})
    assert "| memes | auroc | undefined |  | 3 |" in card


def test_the_sets_of_the_card_are_those_that_something_trains_on(smoke):
    other = DataSet(format="pairs", licence="x")
    data = {"cats": other, "birds": other, "dogs": other, **smoke.data}
    idle = smoke.stage1.model_copy(update={"mixture": {"dogs": 1.0}, "epochs": 0})
    stage = smoke.stage4.model_copy(update={"mixture": {"cats": 1.0, "easy_vqa/vqa": 1.0}})
    config = smoke.model_copy(update={"data": data, "stage1": idle, "stage4": stage})
    assert list(trained_on(config)) == ["cats", "easy_vqa"]
    standins = smoke.backbones.model_copy(update={"data": ("birds",)})
    assert list(trained_on(config.model_copy(update={"backbones": standins}))) == ["cats", "birds", "easy_vqa"]
