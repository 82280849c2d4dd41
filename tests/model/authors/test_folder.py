"""The commands, and the folders that they write: open to transformers, and undone bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tinygptv
from tinygptv.cli import main
from tinygptv.ground import digests
from tinygptv.ground.errors import CheckpointError
from tinygptv.model.authors.building import own_state
from tinygptv.model.authors.folder import AUTHORS, open_import, whole_or_absent

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def sources(tmp_path_factory, golden_parts, write_parts) -> list[str]:
    """The arguments of ``import-checkpoint`` but for the folder."""
    paths = write_parts(tmp_path_factory.mktemp("sources"), golden_parts("mg4_stage3_lora"))
    arguments = [text for part, path in paths.items() for text in (f"--{part}", str(path))]
    arguments += ["--tokenizer", str(GOLDEN / "tokenizer"), "--image-size", "224"]
    return [*arguments, "--text-heads", "4", "--vision-heads", "4", "--qformer-heads", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sources: list[str]) -> Path:
    """What ``import-checkpoint`` makes. Read only."""
    out = tmp_path_factory.mktemp("out") / "model"
    assert main(["import-checkpoint", *sources, str(out)]) == 0
    return out


def refusal(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("tinygptv: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_the_command_prints_the_account(tmp_path, sources, capsys) -> None:
    assert main(["import-checkpoint", *sources, str(tmp_path / "new" / "model")]) == 0
    text = capsys.readouterr().out
    assert "LoRA of rank 4, alpha 16" in text
    assert "t5_proj" in text
    report = json.loads((tmp_path / "new" / "model" / "report.json").read_text())
    assert report["ignored"]["qformer/t5_proj.bias"] == "BLIP-2's language model; TinyGPT-V has Phi"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"], "nothing else is left"


def test_an_import_is_opened_as_it_was(folder: Path, imported) -> None:
    model, processor = open_import(folder)
    found, expected = own_state(model), own_state(imported[0])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert processor.end_mark == "###"


def test_the_authors_form_comes_back_bit_for_bit(tmp_path, folder: Path, golden_parts) -> None:
    assert main(["export-checkpoint", str(folder), str(tmp_path / "authors"), "--form", "authors"]) == 0
    report = json.loads((folder / "report.json").read_text())
    for part, tensors in golden_parts("mg4_stage3_lora").items():
        found = load_file(tmp_path / "authors" / f"{part}.safetensors")
        left = {n for n in tensors if f"{part}/{n}" in report["ignored"] and not n.endswith("position_ids")}
        assert found.keys() == tensors.keys() - left
        assert all(torch.equal(found[name], tensors[name]) for name in found)


def test_the_standard_form_is_the_import_without_the_rest(tmp_path, folder: Path) -> None:
    assert main(["export-checkpoint", str(folder), str(tmp_path / "plain"), "--form", "folder"]) == 0
    names = {path.name for path in (tmp_path / "plain").iterdir()}
    assert {path.name for path in folder.iterdir()} - names == {AUTHORS, "report.json"}
    for name in names - {"config.json", digests.LIST}:
        assert (tmp_path / "plain" / name).read_bytes() == (folder / name).read_bytes(), name
    assert main(["export-checkpoint", str(tmp_path / "plain"), str(tmp_path / "again"), "--form", "authors"]) == 0
    assert not [n for n in load_file(tmp_path / "again" / "checkpoint.safetensors") if "lora" in n], "they are merged"


def test_a_fresh_process_opens_it_with_the_auto_classes_and_the_pipeline(tmp_path, folder: Path, imported) -> None:
    """What anyone does who has the folder and the package: a chat message with an image, and an answer."""
    Image.new("RGB", (60, 40), "red").save(tmp_path / "red.png")
    program = f"""
import json, torch, tinygptv.model
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline
torch.set_num_threads(1)
model = AutoModelForImageTextToText.from_pretrained({str(folder)!r})
processor = AutoProcessor.from_pretrained({str(folder)!r})
message = {{"role": "user", "content": [
    {{"type": "image", "path": {str(tmp_path / "red.png")!r}}}, {{"type": "text", "text": "[vqa] what colour?"}}]}}
prompt = processor.apply_chat_template([message], add_generation_prompt=True)
pipe = pipeline("image-text-to-text", model=model, processor=processor)
answer = pipe(text=[message], return_full_text=False, max_new_tokens=8)[0]["generated_text"]
print(json.dumps([type(model).__name__, type(processor).__name__, prompt, answer]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    model, processor, prompt, answer = json.loads(done.stdout.splitlines()[-1])
    assert (model, processor) == ("TinyGPTVForConditionalGeneration", "TinyGPTVProcessor")
    assert prompt == "###Human: <Img><ImageHere></Img> [vqa] what colour? ###Assistant: "
    question = tinygptv.load(str(folder))
    question.model.generation_config.max_new_tokens = 8
    expected = question.answer([tmp_path / "red.png"], ["[vqa] what colour?"])[0]
    assert answer.strip() == expected
    assert expected


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", AUTHORS, "model.safetensors", "report.json"])
def test_an_incomplete_folder_is_refused(tmp_path, folder: Path, capsys, name: str) -> None:
    for path in folder.iterdir():
        if path.name != name:
            (tmp_path / path.name).hardlink_to(path)
    if name == "report.json":
        (tmp_path / name).write_text("{}")
    line = refusal(capsys, ["export-checkpoint", str(tmp_path), str(tmp_path / "out"), "--form", "authors"])
    assert str(tmp_path) in line
    assert not (tmp_path / "out").exists()


def test_8_bits_cannot_be_exported(tmp_path, folder: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).hardlink_to(path)
    content = json.loads((folder / "config.json").read_text())
    for name in ("config.json", digests.LIST):
        (tmp_path / name).unlink()
    (tmp_path / "config.json").write_text(json.dumps(content | {"quantization_config": {}}))
    with pytest.raises(CheckpointError, match="is in 8 bits, which cannot be undone"):
        open_import(tmp_path)


def test_wrong_arguments_are_one_line(tmp_path, folder: Path, sources: list[str], capsys) -> None:
    assert "exists; name a new folder" in refusal(capsys, ["import-checkpoint", *sources, str(folder)])
    out = str(tmp_path / "out")
    assert "exactly once" in refusal(capsys, ["import-checkpoint", *sources, "--template", "no place", out])
    export = ["export-checkpoint", str(folder), out, "--form"]
    assert "is none of authors, folder" in refusal(capsys, [*export, "tar"])
    missing = [text if text != sources[1] else "nowhere.pth" for text in sources]
    assert "nowhere.pth does not exist" in refusal(capsys, ["import-checkpoint", *missing, out])
    assert not Path(out).exists()


def test_a_template_of_ones_own_is_kept(tmp_path, sources: list[str]) -> None:
    assert main(["import-checkpoint", *sources, "--template", "[INST] {} [/INST]", str(tmp_path / "model")]) == 0
    _, processor = open_import(tmp_path / "model")
    message = {"role": "user", "content": "who?"}
    assert processor.apply_chat_template([message], add_generation_prompt=True) == "[INST] who? [/INST]"


def test_a_failure_leaves_nothing(tmp_path) -> None:
    def fail(make: Callable[[Path], None]) -> None:
        with whole_or_absent(tmp_path / "out") as staged:
            make(staged)
            raise CheckpointError("no")

    with pytest.raises(CheckpointError, match="no"):
        fail(lambda staged: (staged / "part").touch())
    assert list(tmp_path.iterdir()) == []
