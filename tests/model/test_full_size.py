"""The sizes of the paper, counted without memory for the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tinygptv.config import Config
from tinygptv.evaluation.ablations import changed, changes_file
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.model import TinyGPTVForConditionalGeneration
from tinygptv.model.adapters import add_lora, freeze
from tinygptv.model.profile import from_profile
from tinygptv.planning.sizes import measure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def counted(paper: Config) -> dict[str, int]:
    """Counts by part and by what trains, before and after the adapters."""
    with torch.device("meta"):
        model = TinyGPTVForConditionalGeneration(from_profile(paper.model, end_of_text_id=50256))
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    count["stage 1"] = freeze(model, paper.stage1.trainable).total_trainable
    with torch.device("meta"):
        add_lora(model, paper.model.lora)
    table = freeze(model, paper.stage4.trainable)
    count["stages 2 to 4"] = table.total_trainable
    count["adapters"] = table.trainable["lora"]
    count["all"] = table.total_trainable + table.frozen
    return count


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("projector", 3_149_824 + 10_488_320),
        ("language_model", 2_779_683_840 + 92_160),
        ("stage 1", 13_809_664),
        ("adapters", 31_457_280),
        ("stages 2 to 4", 45_266_944),
    ],
)
def test_counts_are_those_of_the_paper(counted: dict[str, int], part: str, expected: int) -> None:
    assert counted[part] == expected


def test_the_image_encoder_is_the_authors_but_for_the_bias_of_keys(counted: dict[str, int]) -> None:
    authors = 985_894_528 + 2_816 + 105_137_664 + 24_576
    assert counted["image_encoder"] == authors + 39 * 1408  # BLIP-2's qkv has a (zero) bias for keys
    assert counted["all"] == 3_915_931_008 + 39 * 1408


def test_the_biases_of_the_norms_can_train_too(counted: dict[str, int], paper: Config) -> None:
    """Equation 1 of the paper trains gains and biases, the released code gains alone."""
    with torch.device("meta"):
        model = TinyGPTVForConditionalGeneration(from_profile(paper.model, end_of_text_id=50256))
    table = freeze(model, (*paper.stage1.trainable, "norm_biases"))
    assert table.trainable["norm_biases"] == 89_600
    assert table.total_trainable == counted["stage 1"] + 89_600


@pytest.mark.parametrize("name", ["Phi-1.5", "TinyLLaMA", "CLIP"])
def test_the_paper_s_other_backbones_have_the_parameters_that_the_docs_print(name: str) -> None:
    sizes = measure(changed(ROOT, "paper", read_yaml(changes_file(ROOT, "paper"))[name], name))
    told = [sizes.image_encoder.parameters] if name == "CLIP" else [sizes.language_model.parameters]
    if name != "CLIP":
        told += [sizes.projections.parameters, *(sizes.stages[stage].parameters for stage in ("stage1", "stage4"))]
    text = (ROOT / "docs" / "backbones.md").read_text()
    assert [f"{number:,}" for number in told if f"{number:,}" not in text] == []
