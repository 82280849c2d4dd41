"""``tinygptv ask`` with pictures and models that are not what they should be."""

from __future__ import annotations

import pytest

from tinygptv.cli import main
from tinygptv.data.shards import read_samples

QUESTION = "what shape is in the image?"


@pytest.fixture
def ask(capfd):
    def check(*arguments, words):
        capfd.readouterr()
        assert main(["ask", *map(str, arguments)]) == 2
        captured = capfd.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("tinygptv: ")
        assert captured.err.count("\n") == 1
        for word in words:
            assert word in captured.err, captured.err

    return check


@pytest.fixture
def picture(with_shards, tmp_path):
    sample = next(iter(read_samples([with_shards.data / "shards" / "easy_vqa" / "test-000000.tar"])))
    path = tmp_path / "picture.png"
    path.write_bytes(sample.image_bytes)
    return path


@pytest.fixture
def model(with_stage1, monkeypatch):
    """The model of stage 1, in memory."""
    from tinygptv.evaluation.stages import open_stage

    data = with_stage1.data
    opened = open_stage(with_stage1.config, "stage1", data / "backbones", data / "stage1")
    monkeypatch.setattr("tinygptv.load", lambda source, device: opened)
    return opened


def test_a_good_picture_is_answered(picture, model, capsys):
    assert main(["ask", str(picture), QUESTION, "--model", "any"]) == 0
    assert capsys.readouterr().out == model.answer([picture.read_bytes()], [QUESTION])[0] + "\n"


@pytest.mark.parametrize("content", ["cut", "text", "empty", "flipped"])
def test_a_picture_that_is_none(ask, picture, model, content):
    good = picture.read_bytes()
    flipped = bytearray(good)
    flipped[good.index(b"IDAT") + 12] ^= 0xFF
    picture.write_bytes({"cut": good[:-40], "text": b"a text\n", "empty": b"", "flipped": bytes(flipped)}[content])
    ask(picture, QUESTION, "--model", "any", words=[str(picture), "cannot be decoded", "PNG, JPEG and WebP are known"])


def test_a_folder_in_the_place_of_a_picture(ask, tmp_path):
    ask(tmp_path, QUESTION, "--model", "any", words=[str(tmp_path), "name a picture"])


def test_no_such_model(ask, picture, tmp_path):
    ask(picture, QUESTION, "--model", tmp_path / "nix", words=[str(tmp_path / "nix")])


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"])
def test_an_incomplete_model(ask, picture, tmp_path, missing):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json"} - {missing}:
        (folder / name).write_text("{}")
    ask(picture, QUESTION, "--model", folder, words=[str(folder), f"{missing} is missing", "dvc repro quantize"])


def saved(model, folder):
    model.model.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("damage", ["cut", "config", "tokenizer"])
def test_a_damaged_model(ask, picture, model, tmp_path, monkeypatch, damage):
    folder = saved(model, tmp_path / "model")
    monkeypatch.undo()  # the real tinygptv.load
    name = {"cut": "model.safetensors", "config": "config.json", "tokenizer": "tokenizer.json"}[damage]
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    ask(picture, QUESTION, "--model", folder, words=[str(folder)])


def test_a_saved_model_answers_as_before(picture, model, tmp_path, monkeypatch):
    before = model.answer([picture], [QUESTION])
    folder = saved(model, tmp_path / "model")
    monkeypatch.undo()
    import tinygptv

    assert tinygptv.load(str(folder)).answer([picture], [QUESTION]) == before
