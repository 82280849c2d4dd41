"""The authors' files under their published names (``evaluation/authors_files.py``), here beside the golden files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.model.conftest import GOLDEN
from tinygptv.evaluation.authors_files import (
    CHECKPOINTS,
    find_published,
    open_published,
    published_digests,
    published_identity,
)
from tinygptv.ground.errors import CheckpointError

NAMES = {
    "phi": "phi-2/model.safetensors",
    "vision": "eva_vit_g.safetensors",
    "qformer": "blip2_pretrained_flant5xxl.safetensors",
    "checkpoint": "TinyGPT-V_for_Stage3.safetensors",
}


@pytest.fixture
def folder(tmp_path, golden_parts, write_parts) -> Path:
    """The golden case at 224 pixels, as the authors' stage 3 lies in a folder."""
    target = tmp_path / "checkpoints"
    (target / "phi-2").mkdir(parents=True)
    for part, path in write_parts(tmp_path / "parts", golden_parts("mg4_stage3_lora")).items():
        path.rename(target / NAMES[part])
    for path in (GOLDEN / "tokenizer").iterdir():
        (target / "phi-2" / path.name).write_bytes(path.read_bytes())
    return target


def test_what_is_missing_is_named_in_one_line(folder):
    files = find_published(folder)
    assert files.missing == tuple(name for stage, name in CHECKPOINTS.items() if stage != "stage3")
    (folder / NAMES["vision"]).unlink()
    with pytest.raises(CheckpointError, match=r"lacks eva_vit_g\.pth; put them there") as caught:
        find_published(folder)
    assert "\n" not in str(caught.value)
    (folder / NAMES["checkpoint"]).unlink()
    with pytest.raises(CheckpointError, match=r"all of TinyGPT-V_for_Stage1\.pth, TinyGPT-V_for_Stage2\.pth"):
        find_published(folder)


def test_a_stage_answers_as_an_import_does_in_the_prompt_of_the_profile(folder, config, imported):
    theirs = imported[0]
    prompt = config.stage3.prompt.model_copy(update={"template": "Q: {} A:"})
    asked = config.model_copy(update={"stage3": config.stage3.model_copy(update={"image_size": 224, "prompt": prompt})})
    opened = open_published(asked, "stage3", find_published(folder))
    assert opened.processor.prompt_of("what?") == "Q: <Img><ImageHere></Img> what? A:"
    assert opened.processor.image_processor.size["height"] == 224
    features_BQD = torch.randn(1, 32, 48, generator=torch.Generator().manual_seed(0))
    ids_BT = torch.tensor([opened.processor.encode_prompt(opened.processor.prompt_of("what?"))])
    with torch.inference_mode():
        logits = [model(input_ids=ids_BT, image_features=features_BQD).logits for model in (opened.model, theirs)]
    assert torch.equal(*logits)


def test_a_checkpoint_of_other_sizes_is_refused(folder, config):
    text = config.model.text.model_copy(update={"hidden_size": 128})
    stage3 = config.stage3.model_copy(update={"image_size": 224})
    other = config.model_copy(update={"model": config.model.model_copy(update={"text": text}), "stage3": stage3})
    with pytest.raises(CheckpointError, match="give the profile's section `model` its sizes"):
        open_published(other, "stage3", find_published(folder))


def test_another_file_or_prompt_is_another_model(folder, config):
    def identity(of=config) -> str:
        files = find_published(folder)
        return published_identity(of, "stage3", files, published_digests(files))

    first = identity()
    prompt = config.stage3.prompt.model_copy(update={"template": "{}"})
    assert identity(config.model_copy(update={"stage3": config.stage3.model_copy(update={"prompt": prompt})})) != first
    (folder / "TinyGPT-V_for_Stage4.safetensors").write_bytes(b"of another stage")
    assert identity() == first
    path = folder / NAMES["vision"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert identity() != first
