"""What a GPU answers: a package in 8 bits as on the CPU, the captured loop as transformers' own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.serving.helpers import QUESTIONS, TOKENS, strong_model
from tinygptv.model.decoding.decoder import Decoder
from tinygptv.model.frozen8bit import FrozenLinear8bit
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.model.int8 import save_quantized

pytestmark = pytest.mark.gpu
ROWS = 40


def answers(model: VisionLanguageModel) -> list[str]:
    features_BQD = 3 * torch.randn(ROWS, 4, 32, generator=torch.Generator().manual_seed(0)).to(model.decoder.device)
    prompts = [f"###Human: <ImageHere> {QUESTIONS[i % 5]} ###Assistant: " for i in range(ROWS)]
    return [answer.text for answer in model.generate(features_BQD, prompts, batch_size=16)]


def equal(found: list[str], expected: list[str]) -> float:
    return sum(a == b for a, b in zip(found, expected, strict=True)) / len(expected)


@pytest.mark.parametrize("threshold", [0.0, 6.0])
def test_a_package_of_the_cpu_answers_on_a_gpu_and_the_other_way_round(make_model, processor, tmp_path, threshold):
    full = strong_model(make_model(seed=11), processor, seed=4)
    save_quantized(full, tmp_path / "here", outlier_threshold=threshold, max_new_tokens=TOKENS)
    here = VisionLanguageModel.from_folder(tmp_path / "here")
    there = VisionLanguageModel.from_folder(tmp_path / "here", "cuda")
    expected = answers(here)
    assert len(set(expected)) > 10, "the answers must differ for this test to mean something"
    assert equal(answers(there), expected) > 0.7  # activations are not rounded there
    for part in there.model.modules():
        if isinstance(part, FrozenLinear8bit):
            part.weight_only = False
    there.decoder = Decoder(there.model)
    assert equal(answers(there), expected) > 0.9
    there.model.save_pretrained(tmp_path / "back")
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == weights(tmp_path / "here")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("compiled", [False, True])
def test_the_captured_loop_says_the_same(make_model, processor, compiled):
    model = strong_model(make_model(seed=11), processor, seed=4)
    expected = answers(model)
    there = VisionLanguageModel(model.model.to("cuda"), processor)
    there.decoder = Decoder(there.model, compiled=compiled)
    assert equal(answers(there), expected) > 0.95
    assert all(slots.graph is not None for slots in there.decoder._kept.values())
    assert answers(there) == answers(there), "a step that is replayed again"
