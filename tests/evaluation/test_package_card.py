"""The card that lies in a package's folder."""

from __future__ import annotations

from tinygptv.evaluation.package_card import model_card

REPORT = {
    "benchmarks": {"easy_vqa": {"metric": "exact match", "value": 0.98765, "ci95": [0.9, 0.99999], "n": 12}},
    "agreement": {"value": 0.75, "n": 12},
    "seed": 7,
}


def test_a_card_has_front_matter_results_and_what_it_was_made_of():
    lines = model_card("tiny", REPORT, {"stage1": "ab", "shards": "cd"}).split("\n")
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
    assert lines[-7:] == [
        "Made from these, with seed 7:",
        "",
        "| step | SHA-256 |",
        "|---|---|",
        "| stage1 | `ab` |",
        "| shards | `cd` |",
        "",
    ]
