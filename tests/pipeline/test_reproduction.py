"""The authors' checkpoints beside their paper, from files to table: golden weights, small benchmark files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.pipeline.test_smoke import FOREIGN
from tinygptv.ground.yaml_files import read_yaml

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
ASKED = ("gqa", "vsr", "vizwiz", "hateful_memes", "refcoco")
CASES = {"TinyGPT-V_for_Stage3": "mg4_stage3_lora", "TinyGPT-V_for_Stage4": "v2_stage4_conv"}
BASE = {"phi": "phi-2/model", "vision": "eva_vit_g", "qformer": "blip2_pretrained_flant5xxl"}


def published(folder: Path) -> None:
    """The golden files under the names that the authors' have."""
    (folder / "phi-2").mkdir(parents=True)
    for path in (GOLDEN / "tokenizer").iterdir():
        shutil.copy(path, folder / "phi-2")
    for file, case in CASES.items():
        weights = load_file(GOLDEN / case / "weights.safetensors")
        parts = {"ckpt": file} | (BASE if case == "v2_stage4_conv" else {})
        for part, name in parts.items():
            found = {key.removeprefix(f"{part}."): weights[key] for key in weights if key.startswith(f"{part}.")}
            save_file(found, folder / f"{name}.safetensors")


def profile() -> dict[str, Any]:
    """``reproduce-paper`` with the sizes of the golden files, on a CPU, asked of small files."""
    made, mini = (
        json.loads(json.dumps(read_yaml(ROOT / "configs" / f"{name}.yaml")))
        for name in ("reproduce-paper", "eval-mini")
    )
    made["runtime"] |= {"device": "cpu", "dtype": "float32", "threads": 2}
    model = made["model"]
    model["vision"] |= {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 279}
    model["qformer"] |= {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 96}
    model["text"] |= {"vocab_size": 400, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3}
    model["text"] |= {"num_attention_heads": 4, "max_position_embeddings": 512}
    model["lora"] |= {"rank": 4}
    made["data"] = {name: mini["data"][name] for name in ASKED}
    made["evaluate"] |= {"benchmarks": list(ASKED), "batch_size": 64}
    made["register"]["gate"] |= {"min_value": {"gqa": 0.0}, "margin": {"gqa": 1.0}}
    for number in range(1, 5):
        made[f"stage{number}"]["mixture"] = {"gqa": 1.0}
    made["loader"]["workers"] = 0
    return made


class Reproduction:
    """A checkout with what `make reproduce-paper` needs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, folder / "checkpoints"
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)
        (folder / "params.yaml").write_text("profile: golden\nseed: 7\n")
        (folder / "configs").mkdir()
        (folder / "configs" / "golden.yaml").write_text(json.dumps(profile()))
        (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
        self.env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        self.env |= {"DVC_ROOT": str(folder), "PYTHONPATH": str(folder / "src")}
        subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "benchmark_files.py"), "data/raw/mini"], cwd=folder, check=True
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=600
        )

    def reproduce(self) -> subprocess.CompletedProcess[str]:
        return self.run("tinygptv", "reproduce", "--checkpoints", "checkpoints")

    def report(self) -> dict[str, Any]:
        return json.loads((self.folder / "reports" / "golden" / "reproduction.json").read_text())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    """Everything was asked once."""
    checkout = Reproduction(tmp_path_factory.mktemp("reproduction") / "checkout")
    refused = checkout.reproduce()
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    published(checkout.files)
    for step in ("download", "shards"):
        done = checkout.run("tinygptv.steps", step)
        assert done.returncode == 0, done.stderr
    done = checkout.reproduce()
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return checkout


def test_both_checkpoints_have_all_benchmarks_in_both_presets_beside_the_papers_numbers(made: Reproduction) -> None:
    found = made.report()
    assert list(found["stages"]) == ["stage3", "stage4"]
    assert found["missing"] == ["TinyGPT-V_for_Stage1.pth", "TinyGPT-V_for_Stage2.pth"]
    papers = {"gqa": 0.389, "vsr": 0.547, "vizwiz": 0.378, "hateful_memes": 0.54, "refcoco": 0.0675}
    for of_stage in found["stages"].values():
        assert list(of_stage["presets"]) == ["as_trained", "authors_released"]
        for measured in of_stage["presets"].values():
            entries = measured["benchmarks"]
            assert {name: entry["paper"]["value"] for name, entry in entries.items()} == papers
            for name, entry in entries.items():
                assert entry["ci95"][0] <= entry["official"][entry["metric"]] <= entry["ci95"][1], name
                low, high = entry["authors_ci95"]
                assert low <= next(iter(entry["authors"].values())) <= high, name
                assert not entry["whole_split"]
            assert measured["average"]["of"] == ["gqa", "vsr", "vizwiz", "hateful_memes"]
            assert measured["average"]["paper"] == pytest.approx((0.389 + 0.547 + 0.378 + 0.54) / 4)
    table = (made.folder / "reports" / "golden" / "reproduction.md").read_text()
    assert table.count("| TinyGPT-V_for_Stage3 |") == table.count("| TinyGPT-V_for_Stage4 |") == 12


def test_what_was_answered_is_not_asked_again_and_the_model_is_not_opened(made: Reproduction) -> None:
    before = (made.folder / "reports" / "golden" / "reproduction.json").read_bytes()
    importer = made.folder / "src" / "tinygptv" / "model" / "assembly.py"
    answers = sorted((made.folder / ".state" / "golden" / "answers").glob("*/*.json"))
    dates = [path.stat().st_mtime_ns for path in answers]
    assert importer.is_file() and len(answers) > 4
    assert made.reproduce().returncode == 0
    assert (made.folder / "reports" / "golden" / "reproduction.json").read_bytes() == before
    kept = [path for path in answers if path.parent.name != "askers"]
    again = {path: path.stat().st_mtime_ns for path in kept}
    assert again == {path: date for path, date in zip(answers, dates, strict=True) if path in again}
