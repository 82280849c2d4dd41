from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tinygptv.cli import main

ENTRY = {"metric": "exact match", "value": 0.9955, "ci95": [0.99, 0.998], "n": 9673}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_report(root: Path, step: str, content: object) -> None:
    folder = root / "reports" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{step}.json").write_text(json.dumps(content))


def one_error_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tinygptv: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys\n"
        "from tinygptv.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = ('torch', 'mlflow', 'prefect', 'transformers', 'numpy', 'rich')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(command in done.stdout for command in ("ask", "results", "doctor"))


@pytest.mark.parametrize("group", [[], ["team"]])
def test_each_command_has_a_line_that_is_not_cut_in_80_columns(group):
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "tinygptv", *group, "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.partition("Commands:\n")[2].splitlines()
    assert len(lines) > 3
    assert [line for line in lines if not line.endswith(".") or line.endswith("...") or len(line) > 80] == []


def test_results_are_shown_beside_their_baselines(checkout, capsys):
    write_report(
        checkout,
        "evaluate",
        {
            "benchmarks": {
                "easy_vqa": {**ENTRY, "majority": 0.3733, "blind": 0.67, "trivial": None},
                "easy_vqa_refer": {**ENTRY, "majority": None, "blind": None, "trivial": 0.07},
            }
        },
    )
    write_report(checkout, "quantize", {"benchmarks": {"easy_vqa": {**ENTRY, "value": 0.9951}}})
    assert main(["results"]) == 0
    lines = capsys.readouterr().out.splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert words[0] == "benchmark model metric value 95 % interval majority question only trivial n"
    assert words[1] == "easy_vqa full exact match 0.9955 0.9900-0.9980 0.3733 0.6700 9673"
    assert words[2] == "easy_vqa 8 bits exact match 0.9951 0.9900-0.9980 9673"
    assert words[3] == "easy_vqa_refer full exact match 0.9955 0.9900-0.9980 0.0700 9673"
    assert len({len(line) for line in lines}) == 1  # the last column is set to the right


def test_what_the_results_mean_stands_below_them(checkout, capsys):
    entries = {"easy_vqa": {**ENTRY, "majority": 0.3733, "blind": 0.67, "trivial": None}}
    said = "The model learned to use the images: easy_vqa 1.00 against 0.67 for the question alone."
    write_report(checkout, "evaluate", {"benchmarks": entries, "verdict": said})
    assert main(["results"]) == 0
    assert capsys.readouterr().out.endswith(f"\n\n{said}\n")


def test_other_presets_and_what_only_some_benchmarks_have_are_shown(checkout, capsys):
    memes = {**ENTRY, "metric": "auroc", "value": None, "ci95": None, "chance": 0.5, "authors": {"accuracy": 0.61}}
    kinds = {**ENTRY, "authors": {"per_kind": {"a": 0.1}}}
    presets = {"authors_released": {"gqa": kinds}}
    write_report(checkout, "evaluate", {"benchmarks": {"memes": memes, "gqa": kinds}, "presets": presets})
    assert main(["results"]) == 0
    words = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert words == [
        "benchmark model metric value 95 % interval majority question only trivial chance authors' count n",
        "gqa full exact match 0.9955 0.9900-0.9980 9673",
        "gqa full, authors_released exact match 0.9955 0.9900-0.9980 9673",
        "memes full auroc undefined 0.5000 0.6100 9673",
    ]


def test_no_results_yet(checkout, capsys):
    assert main(["results"]) == 2
    assert "make demo" in one_error_line(capsys)


@pytest.mark.parametrize("report", [{"benchmarks": {"easy_vqa": {"value": 1.0}}}, {}, []])
def test_a_report_of_another_form_is_named(checkout, capsys, report):
    write_report(checkout, "evaluate", report)
    assert main(["results"]) == 2
    assert "evaluate.json" in one_error_line(capsys)


def test_outside_a_checkout(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["results"]) == 2
    assert "dvc.yaml" in one_error_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ask", "nix.png", "what?"], "nix.png"),
        (["ask", "image.png", " "], "question"),
        (["ask", "image.png", "what?"], "make demo"),
        (["ask", "image.png", "what?", "--model", "no-folder"], "no-folder"),
    ],
)
def test_ask_names_what_is_missing(checkout, capsys, arguments, named):
    Image.new("RGB", (8, 8)).save(checkout / "image.png")
    assert main(arguments) == 2
    assert named in one_error_line(capsys)


def test_ask_prints_the_answer(checkout, capsys, monkeypatch):
    class Model:
        def answer(self, images, questions):
            assert [image.name for image in images] == ["image.png"]
            return [f"{len(questions)} answered"]

    seen = []
    monkeypatch.setattr("tinygptv.load", lambda source, device: seen.append((source, device)) or Model())
    Image.new("RGB", (8, 8)).save(checkout / "image.png")
    folder = checkout / "data" / "tiny" / "quantize" / "model"
    folder.mkdir(parents=True)
    assert main(["ask", "image.png", "what?"]) == 0
    assert main(["ask", "image.png", "what?", "--model", "models:/tinygptv@champion", "--device", "cuda"]) == 0
    assert capsys.readouterr().out == "1 answered\n1 answered\n"
    assert seen == [(str(folder), "cpu"), ("models:/tinygptv@champion", "cuda")]


def test_usage_errors_and_ctrl_c(checkout, monkeypatch, capsys):
    assert main(["nix"]) == 2
    assert "Traceback" not in capsys.readouterr().err

    def interrupt(*arguments: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinygptv.results.results_table", interrupt)
    assert main(["results"]) == 130
