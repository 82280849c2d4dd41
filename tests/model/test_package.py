"""Damaged packages, with digests and without: one line before any answer, on every way to a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import tinygptv
from tinygptv.cli import main
from tinygptv.ground import digests
from tinygptv.ground.errors import DataError, UserError
from tinygptv.model.inference import VisionLanguageModel

RELEASED = Path(__file__).parents[1] / "drills" / "formats" / "v1" / "package"
"""A package of the first version, which had no digests."""
MATRIX = "language_model.model.layers.0.mlp.fc1"
PICTURE, QUESTION = Image.new("RGB", (64, 64), (200, 30, 60)), "what color is the shape?"

Damage = Callable[[Path], object]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the first version, to be damaged."""
    return Path(shutil.copytree(RELEASED, tmp_path / "package"))


@pytest.fixture
def sealed(package: Path) -> Path:
    """The same with digests, as it is written today."""
    with digests.sealed(package):
        return package


def text(name: str, content: str) -> Damage:
    return lambda folder: (folder / name).write_text(content)


def gone(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def settings(name: str, *path: str, value: Any) -> Damage:
    """Another value in a JSON file."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        (folder / name).write_text(json.dumps(content))

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


bytes_of_a_matrix = tensors(lambda found: found[f"{MATRIX}.weight"].flatten()[:1000].neg_())


def filled(name: str, value: float) -> Damage:
    return tensors(lambda found: found[name].fill_(value))


UNUSABLE: dict[str, tuple[Damage, str]] = {
    "empty config": (text("config.json", ""), "config.json is not valid JSON"),
    "config without keys": (text("config.json", "{}"), "config.json holds no settings"),
    "a list for a config": (text("config.json", "[1]"), "config.json holds no settings"),
    "null for a config": (text("config.json", "null"), "config.json holds no settings"),
    "bytes for a config": (lambda folder: (folder / "config.json").write_bytes(b"\xff\0"), "config.json is not valid"),
    "another architecture": (settings("config.json", "model_type", value="llama"), "model_type is 'llama'"),
    "no architecture": (settings("config.json", "model_type", value=None), "model_type is None"),
    "another language model": (
        settings("config.json", "text_config", "model_type", value="llama"),
        "'llama'; known: t",
    ),
    "a width in words": (settings("config.json", "text_config", "hidden_size", value="wide"), "hidden_size"),
    "a width of none": (settings("config.json", "text_config", "hidden_size", value=None), "package is damaged"),
    "no heads": (settings("config.json", "text_config", "num_attention_heads", value=0), "package is damaged"),
    "a list for a section": (settings("config.json", "text_config", value=[]), "package is damaged"),
    "another width": (settings("config.json", "text_config", "intermediate_size", value=48), "does not fit the config"),
    "more layers": (settings("config.json", "text_config", "num_hidden_layers", value=9), "missing: "),
    "other queries": (settings("config.json", "num_query_tokens", value=5), "does not fit the config"),
    "another vocabulary": (settings("config.json", "text_config", "vocab_size", value=300), "package"),
    "another quantization": (settings("config.json", "quantization_config", value={"a": 1}), "package"),
    "no quantization": (settings("config.json", "quantization_config", value=None), "package"),
    "a tensor less": (tensors(lambda found: found.pop("projector.linear_1.weight")), "missing: projector.linear_1"),
    "a scale less": (tensors(lambda found: found.pop(f"{MATRIX}.SCB")), "package"),
    "a matrix less": (tensors(lambda found: found.pop(f"{MATRIX}.weight")), "package"),
    "a tensor more": (tensors(lambda found: found.update(more=torch.ones(3))), "unknown: more"),
    "another shape": (tensors(lambda found: found.update({"lm_head.bias": torch.ones(3)})), "lm_head.bias"),
    "a short bias": (
        tensors(lambda found: found.update({"language_model.lm_head.bias": torch.ones(3)})),
        "of another shape: language_model.lm_head.bias",
    ),
    "cut weights": (cut, "damaged"),
    "empty weights": (text("model.safetensors", ""), "damaged"),
    "no weights": (gone("model.safetensors"), "model.safetensors is missing"),
    "a pickle": (lambda folder: torch.save({}, folder / "model.safetensors"), "damaged"),
    "empty processor": (text("processor_config.json", ""), "processor_config.json is not valid JSON"),
    "processor without keys": (text("processor_config.json", "{}"), "processor_config.json holds no settings"),
    "a processor without images": (settings("processor_config.json", "image_processor", value=None), "package"),
    "another end": (settings("processor_config.json", "end_mark", value="the very end"), "end mark"),
    "an end that is none": (settings("processor_config.json", "end_mark", value=7), "package is damaged"),
    "other slots": (settings("processor_config.json", "num_query_tokens", value=5), "num_query_tokens is 5"),
    "slots in words": (settings("processor_config.json", "num_query_tokens", value="four"), "package is damaged"),
    "another image token": (settings("processor_config.json", "image_token_id", value=7), "image_token_id is 7"),
    "no tokenizer": (gone("tokenizer.json"), "tokenizer.json is missing"),
    "empty tokenizer": (text("tokenizer.json", ""), "tokenizer.json is not valid JSON"),
    "tokenizer without keys": (text("tokenizer.json", "{}"), "tokenizer.json holds no settings"),
    "another tokenizer": (text("tokenizer.json", '{"a": 1}'), "package is damaged"),
    "no settings of the tokenizer": (gone("tokenizer_config.json"), "tokenizer_config.json is missing"),
    "a tokenizer without ends": (
        settings("tokenizer_config.json", "eos_token", value=None),
        "tokenizer_config.json names no eos_token",
    ),
    "no template": (gone("chat_template.jinja"), "no chat template"),
    "empty template": (text("chat_template.jinja", ""), "no chat template"),
    "a broken template": (text("chat_template.jinja", "{% for"), "package is damaged"),
    "a template that fails": (text("chat_template.jinja", "{{ 1 / 0 }}"), "package is damaged"),
    "a template without an image": (text("chat_template.jinja", "why?"), "give an image its place"),
    "no way to generate": (gone("generation_config.json"), "generation_config.json is missing"),
    "generation without keys": (text("generation_config.json", "{}"), "generation_config.json holds no settings"),
    "a limit in words": (settings("generation_config.json", "max_new_tokens", value="many"), "package"),
    "a negative limit": (settings("generation_config.json", "max_new_tokens", value=-4), "package"),
    "a limit beyond the positions": (settings("generation_config.json", "max_new_tokens", value=300), "300 tokens"),
}
"""What can be seen without digests: the damage, and words of the line."""

SILENT: dict[str, tuple[Damage, str]] = {
    "1,000 bytes of weights": (bytes_of_a_matrix, "model.safetensors was changed"),
    "a scale that is NaN": (filled(f"{MATRIX}.SCB", float("nan")), "model.safetensors was changed"),
    "scales of zero": (filled(f"{MATRIX}.SCB", 0), "model.safetensors was changed"),
    "another picture size": (
        settings("processor_config.json", "image_processor", "size", "height", value=32),
        "processor_config.json was changed",
    ),
    "another threshold": (
        settings("config.json", "quantization_config", "llm_int8_threshold", value=1.0),
        "config.json was changed",
    ),
    "another template": (
        lambda folder: (folder / "chat_template.jinja").write_text(
            (folder / "chat_template.jinja").read_text() + "{# changed #}"
        ),
        "chat_template.jinja was changed",
    ),
    "one file more": (text("adapter_config.json", '{"peft_type": "LORA"}'), "adapter_config.json is not one of"),
    "one file less": (gone("README.md"), "README.md is missing"),
    "exchanged": (
        lambda folder: [
            (folder / name).write_text(content)
            for name, content in zip(
                ("config.json", "generation_config.json"),
                [(folder / name).read_text() for name in ("generation_config.json", "config.json")],
                strict=True,
            )
        ],
        "config.json was changed, generation_config.json was changed",
    ),
}
"""What opens and answers, but for its digests."""


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        VisionLanguageModel.from_folder(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 700
    return line


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_work_is_refused_in_a_line(package, name, capfd) -> None:
    damage, words = UNUSABLE[name]
    damage(package)
    assert words in refusal(package)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.count("\n") <= 1, told.err  # that there are no digests


@pytest.mark.parametrize("name", [*SILENT, *UNUSABLE])
def test_whatever_a_sealed_package_lost_is_refused(sealed, name) -> None:
    damage, words = (SILENT | UNUSABLE)[name]
    damage(sealed)
    line = refusal(sealed)
    assert name in UNUSABLE or words in line


def test_a_released_package_says_that_it_cannot_be_checked(sealed, capfd) -> None:
    expected = tinygptv.load(str(RELEASED)).answer([PICTURE], [QUESTION])
    told = capfd.readouterr()
    assert "cannot be checked" in told.err
    assert told.err.count("\n") == 1
    assert tinygptv.load(str(sealed)).answer([PICTURE], [QUESTION]) == expected
    assert capfd.readouterr() == ("", "")


def test_the_auto_classes_refuse_it_too(sealed) -> None:
    bytes_of_a_matrix(sealed)
    for auto in (AutoModelForImageTextToText, AutoProcessor):
        with pytest.raises(DataError, match=r"model\.safetensors was changed"):
            auto.from_pretrained(sealed)


def test_a_model_may_be_built_of_tensors_alone(make_model) -> None:
    model = make_model()
    built = type(model).from_pretrained(None, config=model.config, state_dict=model.state_dict())
    assert built.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("command", ["ask", "serve"])
@pytest.mark.parametrize("name", ["1,000 bytes of weights", "no template", "config without keys", "a tensor less"])
def test_a_command_ends_with_one_line(sealed, tmp_path, capfd, command, name) -> None:
    PICTURE.save(tmp_path / "picture.png")
    ask = ["ask", str(tmp_path / "picture.png"), QUESTION, "--model", str(sealed)]
    (SILENT | UNUSABLE)[name][0](sealed)
    for listed in (True, False):
        if not listed:
            (sealed / digests.LIST).unlink()
            if name in SILENT:
                break
        assert main(ask if command == "ask" else ["serve", str(sealed), "--port", "0"]) == 2
        told = capfd.readouterr()
        assert told.out == ""
        lines = told.err.splitlines()
        assert lines[-1].startswith("tinygptv: ")
        assert len(lines) == (1 if listed else 2), told.err


@pytest.mark.parametrize("place", [f"{MATRIX}.SCB", "language_model.lm_head.bias", "image_encoder.query_tokens"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_an_error_of_code_1(package, tmp_path, capfd, place, value) -> None:
    filled(place, value)(package)
    PICTURE.save(tmp_path / "picture.png")
    assert main(["ask", str(tmp_path / "picture.png"), QUESTION, "--model", str(package)]) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith("tinygptv: the model's logits are not finite")
    assert len(told.err.splitlines()) == 2


def test_another_kind_of_folder_is_told_apart(tmp_path) -> None:
    for sign, words in (("phi", "import-checkpoint"), ("trained", "stage's"), ("language_model", "backbones")):
        folder = tmp_path / sign
        folder.mkdir()
        (folder / f"{sign}.safetensors").touch()
        with pytest.raises(UserError, match=words):
            tinygptv.load(str(folder))
