"""The programs without typer: every kind of wrong command line is one line, exit code 2, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkouts import bare_clone

ROOT = Path(__file__).resolve().parents[2]
WRONG = {
    "flows.pipeline": [
        ("--nosuch", "unrecognized arguments: --nosuch; see `python -m flows.pipeline --help`"),
        ("surplus", "unrecognized arguments: surplus"),
        ("--from", "--from: expected one argument"),
        ("--from nosuch", "--from nosuch: no such step; the steps are download"),
        ("--to stge1", "did you mean stage1?"),
        ("--force ''", "--force : no such step"),
        (
            "--profile nosuch",
            "no profile `nosuch` in configs/; there are eval-mini, paper, paper-mini",
        ),
        ("--profile ''", "no profile `` in configs/"),
        ("--profile '../x\ny'", "no profile `../x\\ny` in configs/"),
        ("--set x", "--set x: it must be KEY=VALUE"),
        ("--set nosuch=1", "--set nosuch=1: unknown key `nosuch`"),
        ("--set stage4.epochs=nan", "--set stage4.epochs=nan: "),
        ("--set ''", "--set : it must be KEY=VALUE"),
        ("--name x", "--name x names an experiment; add --set KEY=VALUE"),
        ("--server nosuch", "'nosuch' is no address"),
        ("--server ''", "'' is no address"),
        ("--server ftp://user:t0ken@h", "'ftp://h' is no address"),
    ],
    "flows.verify": [
        ("--nosuch", "unrecognized arguments: --nosuch"),
        ("nosuch", "has no such step"),
        ("''", "has no such step"),
        ("--profile nosuch", "configs/nosuch.yaml does not exist"),
        ("--profile smoke", ".state/worktrees/smoke/dvc.lock does not exist"),
        ("--server nosuch", "'nosuch' is no address"),
    ],
    "tinygptv.steps": [
        ("", "the following arguments are required: step"),
        ("nosuch", "invalid choice: 'nosuch'"),
        ("''", "invalid choice: ''"),
        ("stage1 surplus", "unrecognized arguments: surplus"),
        ("stage1 --nosuch", "unrecognized arguments: --nosuch"),
        ("shards --allow-changed x", "--allow-changed: shards has no resume points"),
    ],
    "tinygptv.tracking": [
        ("", "the following arguments are required: command"),
        ("nosuch", "invalid choice: 'nosuch'"),
        ("ship surplus", "unrecognized arguments: surplus"),
        ("open-pipeline", "the following arguments are required: --id"),
        ("close-pipeline --id x --status nosuch", "invalid choice: 'nosuch'"),
        ("record-verification --file nosuch.json", "nosuch.json is missing"),
        ("record-ablations --file nosuch.json", "nosuch.json is missing"),
        ("record-verification --file docs", "docs is a folder"),
        ("record-verification --file dvc.yaml", "dvc.yaml is not valid JSON"),
    ],
    "tinygptv.docs": [("--nosuch", "unrecognized arguments: --nosuch"), ("surplus", "unrecognized arguments: surplus")],
    "tinygptv.model.upstream": [
        ("", "the following arguments are required: command"),
        ("nosuch", "invalid choice: 'nosuch'"),
        ("lock --nosuch", "unrecognized arguments: --nosuch"),
        ("lock --profile nosuch", "configs/nosuch.yaml does not exist"),
        ("lock --profile tiny", "are not published ones: nothing to pin"),
    ],
    "scripts/architecture.py": [("--nosuch", "unrecognized arguments: --nosuch"), ("x", "unrecognized arguments: x")],
    "scripts/pictures.py": [("", "the following arguments are required: out"), ("x --nosuch", "--nosuch")],
    "benchmarks/ablations.py": [
        ("nosuch", "no variant 'nosuch'"),
        ("--family nosuch", "invalid choice: 'nosuch'"),
        ("--profile nosuch", "configs/nosuch.yaml does not exist"),
        ("--seeds 0", "--seeds of at least 1"),
    ],
    "benchmarks/float16.py": [("--steps 0", "--steps of at least 1")],
    "benchmarks/data_scale.py": [("--records 3", "--records of at least 10")],
    "benchmarks/evaluate_scale.py": [("--questions 3", "--questions of at least 100")],
    "scripts/benchmark_files.py": [("", "the following arguments are required: folder")],
    "scripts.paper_files": [("", "the following arguments are required: folder")],
    "benchmarks/thread_waiting.py": [("--rounds 0", "--rounds of at least 1")],
    "benchmarks/serving.py": [("--rounds x", "invalid int value: 'x'")],
    "benchmarks/determinism.py": [("--nosuch", "unrecognized arguments: --nosuch")],
    "benchmarks/plain_path.py": [("--steps x", "invalid int value: 'x'")],
    "benchmarks/scale_model.py": [("--pairs x", "invalid int value: 'x'")],
    "benchmarks/scale_out.py": [("--rounds x", "invalid int value: 'x'")],
    "scripts.command_pages": [("--nosuch", "unrecognized arguments: --nosuch")],
    "tinygptv.provenance.parts": [
        ("nosuch", "invalid choice: 'nosuch'"),
        ("stage1 --profile smoke --day 2026-11-22", "--seed"),
        ("stage1 --profile smoke --day 7 --seed 1", "invalid fromisoformat value: '7'"),
    ],
    "benchmarks/packing.py": [("--batches 0", "--rounds of at least 1")],
    "benchmarks/cpu_full_size.py": [("--nosuch", "unrecognized arguments: --nosuch")],
    "benchmarks/gpu_step.py": [("--device nosuch", "invalid choice: 'nosuch'")],
    "benchmarks/gpu_generate.py": [("--device nosuch", "invalid choice: 'nosuch'")],
    "benchmarks/gpu_memory.py": [("--gpu x", "invalid float value: 'x'")],
}
TORCH_FIRST = ("tinygptv.model.upstream", "benchmarks/")
"""Below ``tinygptv.model`` torch is imported first; benchmarks are about nothing else."""
OUTSIDE = {"flows.pipeline": "", "flows.verify": "", "tinygptv.steps": "shards", "tinygptv.tracking": "ship"} | {
    "tinygptv.docs": "--check",
    "flows.deploy": "",
}
Row = tuple[str, str, str]
ROWS = [(program, line, said) for program, lines in WRONG.items() for line, said in lines]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing was made."""
    folder = bare_clone(tmp_path_factory.mktemp("checkout"))
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    return folder


def ended(folder: Path, rows: list[Row], imported: str = "") -> list[dict[str, object]]:
    """Run programs in a folder, all from one process in which modules are imported; gives how each ended."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TINYGPTV_", "DVC_"))}
    paths = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    lines = [
        [str(ROOT / program) if program.endswith(".py") else program, *shlex.split(line)] for program, line, _ in rows
    ]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("programs.py")), imported, json.dumps(lines)],
        cwd=folder,
        env=env | {"PYTHONPATH": paths, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(checkout) -> dict[tuple[str, str], dict[str, object]]:
    """Program and command line → how the program ended."""
    light = [row for row in ROWS if not row[0].startswith(TORCH_FIRST)]
    late = [row for row in ROWS if row not in light]
    found = ended(checkout, light, "tinygptv.config.profiles") + ended(checkout, late, "transformers,tinygptv.model")
    return dict(zip((row[:2] for row in light + late), found, strict=True))


@pytest.mark.parametrize(("program", "line", "said"), ROWS, ids=[f"{row[0]} {row[1]!r}" for row in ROWS])
def test_a_wrong_command_line_is_one_line(told, program, line, said):
    found = told[program, line]
    assert found["code"] == 2, found
    assert found["err"].count("\n") == 1 and said in found["err"]
    assert (found["out"], found["made"]) == ("", [])
    assert found["heavy"] == [] or program.startswith(TORCH_FIRST)


@pytest.mark.parametrize("program", OUTSIDE)
def test_outside_a_checkout(tmp_path, program):
    (found,) = ended(tmp_path, [(program, OUTSIDE[program], "")])
    assert found["err"].count("\n") == 1 and f"no dvc.yaml in {tmp_path}" in found["err"]
    assert (found["code"], found["made"]) == (2, [])


def test_every_program_has_its_rows():
    """Whoever reads a command line with argparse."""
    folders = ("flows", "src", "scripts", "benchmarks")
    found = {path for folder in folders for path in (ROOT / folder).rglob("*.py") if "Parser(" in path.read_text()}
    inner = {
        "src/tinygptv/ground/arguments.py",  # the parser
        "src/tinygptv/ground/processes.py",  # called by this project alone
        "flows/verification.py",
        "benchmarks/gpu_common.py",  # that of gpu_step and gpu_memory
    }
    names = {path.relative_to(ROOT).as_posix() for path in found} - inner
    programs = {
        program
        if program.endswith(".py")
        else f"{'src/' if program.startswith('tinygptv') else ''}"
        f"{program.replace('.', '/')}{'/__main__' if (ROOT / 'src' / program.replace('.', '/')).is_dir() else ''}.py"
        for program in WRONG
    }
    assert {name for name in names if not name.endswith("configparser")} <= programs | {
        "src/tinygptv/doctor/remotes.py"
    }
