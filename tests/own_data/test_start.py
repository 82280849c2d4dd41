from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tinygptv.ground.errors import UserError
from tinygptv.ground.files import write_json
from tinygptv.own_data import start
from tinygptv.own_data.new import new

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_default_is_what_tiny_has_learned(with_tiny):
    found = start.find(with_tiny, None)
    assert (found.init, found.profile, str(found)) == ("tiny/stage4", "tiny", "tiny/stage4")
    assert found.tokenizer is not None
    assert start.find(with_tiny, "tiny").init == "tiny"


def test_another_profile_that_cannot_be_read_is_in_nobody_s_way(with_tiny):
    (with_tiny / "configs" / "half.yaml").write_text("data: {}\n")
    assert start.find(with_tiny, None).profile == "tiny"


@pytest.mark.parametrize(("named", "told"), [(None, "tiny/stage4"), ("tiny", "tiny")])
def test_tiny_must_have_been_made(with_tiny, named, told):
    shutil.rmtree(with_tiny / "data" / "tiny")
    with pytest.raises(UserError, match=rf"^--from {told}: tiny is not trained yet; run `make demo` first$"):
        start.find(with_tiny, named)


def test_published_backbones_bring_their_profile(with_tiny):
    name = start.read_config(with_tiny / "configs" / "paper.yaml").backbones.language_model
    found = start.find(with_tiny, name)
    assert (found.init, found.profile, found.tokenizer) == (None, "paper", None)
    assert str(found) == "the published backbones of the profile paper"


@pytest.mark.parametrize(
    ("name", "variant", "architecture", "tower"),
    [
        ("microsoft/phi-1_5", "Phi-1.5", "phi", "eva"),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", "TinyLLaMA", "llama", "eva"),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "TinyLLaMA Chat", "llama", "eva"),
        ("LAVIS/blip2-vitL", "CLIP", "phi", "clip"),
    ],
)
def test_the_paper_s_other_backbones_bring_their_sizes(with_tiny, name, variant, architecture, tower):
    variants = Path("configs") / "ablations" / "changes" / "paper.yaml"
    (with_tiny / variants).parent.mkdir(parents=True)
    shutil.copy(CHECKOUT / variants, with_tiny / variants)
    found = start.find(with_tiny, name)
    assert str(found) == f"the published backbones of the profile paper with {variant}"
    model, backbones = found.config.model, found.config.backbones
    assert (model.text.architecture, model.vision.tower) == (architecture, tower)
    assert name in (backbones.language_model, backbones.image_encoder)


def test_a_folder_is_of_the_profile_whose_sizes_it_has(with_tiny, tmp_path):
    folder = tmp_path / "elsewhere" / "stage4"
    shutil.copytree(with_tiny / "data" / "tiny" / "backbones", folder.parent / "backbones")
    folder.mkdir()
    (folder / "trained.safetensors").touch()
    model = start.read_config(with_tiny / "configs" / "tiny.yaml").model.model_dump(mode="json")
    write_json(folder / "manifest.json", {"config": {"model": model}})
    found = start.find(with_tiny, str(folder))
    assert (found.init, found.profile) == (str(folder), "tiny")
    assert found.tokenizer is not None
    write_json(folder / "manifest.json", {"config": {"model": {**model, "projection_size": 7}}})
    with pytest.raises(UserError, match=r"no profile in configs/ has its sizes"):
        start.find(with_tiny, str(folder))


def test_a_beginning_that_is_missing_writes_nothing(with_tiny, tmp_path):
    with pytest.raises(UserError, match="no/such does not exist"):
        new(with_tiny, "cats", tmp_path, model="no/such", say=lambda line: None)
    assert not (with_tiny / "configs" / "cats.yaml").exists()
