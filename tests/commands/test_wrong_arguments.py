"""Every command and every kind of wrong argument: one line that helps, at once, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from tests.checkouts import ROOT, bare_clone
from tinygptv.cli import app

IMPORT = (
    "--phi docs --vision docs --qformer docs --tokenizer docs"
    " --image-size 224 --text-heads 2 --vision-heads 2 --qformer-heads 2"
)
FILES = "--annotations params.yaml --predictions params.yaml"
RIGHT = {
    "ask": "picture.png 'what shape?' --model docs",
    "results": "",
    "doctor": "",
    "plan": "--gpu 24",
    "lineage": "models:/tinygptv@champion",
    "evaluate": "stage1",
    "score": f"gqa {FILES}",
    "import-checkpoint": f"new {IMPORT}",
    "export-checkpoint": "docs new --form folder",
    "import-stage": "docs stage4",
    "verify": "",
    "diff": "stage1 stage2",
    "replay": "stage1 --step 1",
    "promote": "",
    "rollback": "",
    "evaluate-champion": "",
    "serve": "docs",
    "web": "docs",
    "up": "",
    "down": "",
    "status": "",
    "team up": "",
    "team down": "",
    "team status": "",
    "team env": "",
}
"""Arguments that are right as far as their form goes; wrong ones are added."""
NO_REGISTRY = "mlflow.db does not exist; run `make demo`, or set MLFLOW_TRACKING_URI"
NEEDED = {  # a command without its arguments, and with what is needed missing in the checkout
    "ask": "Missing argument 'image'",
    "lineage": "Missing argument 'X'",
    "evaluate": "Missing argument 'model'",
    "score": "Missing argument 'benchmark'",
    "import-checkpoint": "Missing argument 'out'",
    "export-checkpoint": "Missing argument 'folder'",
    "import-stage": "Missing argument 'folder'",
    "diff": "Missing argument 'RUN_A'",
    "replay": "Missing argument 'stage'",
    "results": "reports/tiny has no results yet; run `make demo`",
    "verify": "no step with outputs; run the pipeline first",
    "promote": NO_REGISTRY,
    "rollback": NO_REGISTRY,
    "evaluate-champion": NO_REGISTRY,
    "serve": NO_REGISTRY,
    "web": NO_REGISTRY,
    "team env": "no team's servers here; run `tinygptv team up`",
}
VALUES: dict[str, list[tuple[str, str]]] = {
    "results": [("--profile smoke", "run `python -m flows.pipeline --profile smoke`, which works in")],
    "ask": [
        ("nosuch.png 'what?'", "nosuch.png does not exist; name a picture"),
        ("docs 'what?'", "docs is a folder; name a picture"),
        ("dvc.yaml 'what?' --model docs", "dvc.yaml: "),
        ("'' 'what?'", "'image': it is empty"),
        ("'a\nb' 'what?'", "a\\nb does not exist"),
        ("picture.png ' '", "the question is empty"),
        ("picture.png", "Missing argument 'question'"),
        ("picture.png 'what?'", "data/tiny/quantize/model does not exist; run `make demo` first"),
        ("picture.png 'what?' --model nosuch", "nosuch is not a folder"),
        ("picture.png 'what?' --model ''", "an empty name is not a folder"),
        ("picture.png 'what?' --model dvc.yaml", "dvc.yaml is not a folder"),
        ("picture.png 'what?' --model models:/tinygptv", "an address is models:/<name>@<alias>"),
        ("picture.png 'what?' --model models:/tinygptv@champion", NO_REGISTRY),
        ("picture.png 'what?' --model models:/tinygptv/7", NO_REGISTRY),
        ("picture.png 'what?' --model docs --device gpu", "'gpu' is none of cpu, cuda and auto"),
        ("picture.png 'what?' --model docs --device ''", "'' is none of cpu, cuda and auto"),
    ],
    "doctor": [
        ("--manifest nosuch.json", "nosuch.json does not exist; name the manifest.json of a step"),
        ("--manifest docs", "docs is a folder; name the manifest.json"),
        ("--manifest ''", "'--manifest': it is empty"),
        ("--manifest dvc.yaml", "dvc.yaml is not valid JSON"),
        ("--deep=yes", "--deep"),
    ],
    "plan": [
        ("--gpu x", "'--gpu'"),
        ("--gpu nan", "'--gpu'"),
        ("--gpu inf", "no finite number"),
        ("--gpu 0", "'--gpu'"),
        ("--gpu -1", "'--gpu'"),
        ("--gpu ''", "'--gpu'"),
        ("--gpu", "--gpu"),
        ("--json=1", "--json"),
    ],
    "lineage": [
        ("nosuch", "nosuch is no folder, version, run or md5"),
        ("''", "an empty name is no folder, version, run or md5"),
        ("dvc.yaml", "dvc.yaml is a file; name the folder that a step made"),
        ("models:/tinygptv", "is no folder, version, run or md5"),
        ("'a\nb'", "a\\nb is no folder"),
        ("models:/x@y --json=1", "--json"),
    ],
    "import-checkpoint": [
        (f"docs {IMPORT}", "docs exists; name a new folder"),
        (f"dvc.yaml/new {IMPORT}", "dvc.yaml is a file; name another folder"),
        (f"'' {IMPORT}", "'out': it is empty"),
        ("new", "Missing option '--phi'"),
        *((f"new {IMPORT} --{name} nosuch", "nosuch does not exist") for name in ("phi", "vision", "qformer")),
        *((f"new {IMPORT} --{name} ''", f"'--{name}': it is empty") for name in ("phi", "vision", "qformer")),
        (f"new {IMPORT} --tokenizer dvc.yaml", "dvc.yaml is a file"),
        (f"new {IMPORT} --tokenizer ''", "'--tokenizer': it is empty"),
        (f"new {IMPORT} --checkpoint nosuch.pth", "nosuch.pth does not exist"),
        *(
            (f"new {IMPORT} --{name} {value}", f"'--{name}'")
            for name in ("image-size", "text-heads", "vision-heads", "qformer-heads", "lora-alpha")
            for value in ("0", "-1", "x", "1.5", "''")
        ),
        (f"new {IMPORT} --layout nosuch", "'--layout'"),
        (f"new {IMPORT} --template nothing", "needs {} exactly once"),
    ],
    "export-checkpoint": [
        ("nosuch new --form folder", "nosuch does not exist"),
        ("dvc.yaml new --form folder", "dvc.yaml is a file"),
        ("docs docs --form folder", "docs exists; name a new folder"),
        ("'' new --form folder", "'folder': it is empty"),
        ("docs '' --form folder", "'out': it is empty"),
        ("docs new", "Missing option '--form'"),
        ("docs new --form nosuch", "'--form'"),
        ("docs new --form ''", "'--form'"),
        *(
            (f"docs new --form 8bit --outlier-threshold {value}", "threshold")
            for value in ("-1", "nan", "inf", "x", "''")
        ),
    ],
    "import-stage": [
        ("docs stage5", "stage 'stage5' is none of stage1, stage2, stage3, stage4; did you mean stage"),
        ("docs ''", "stage '' is none of"),
        ("docs", "Missing argument 'stage'"),
        ("nosuch stage4", "nosuch does not exist"),
        ("dvc.yaml stage4", "dvc.yaml is a file"),
        ("'' stage4", "'folder': it is empty"),
    ],
    "evaluate": [
        ("stage1", "data/tiny/shards is missing; run `dvc repro shards`"),
        ("stage1 --profile smoke", "run `python -m flows.pipeline --profile smoke --to shards`, which works in"),
        ("nosuch", "nosuch is not a folder"),
        ("''", "an empty name is not a folder"),
        ("models:/tinygptv@champion", NO_REGISTRY),
        (
            "stage1 --benchmarks gqa",
            "the profile has no benchmark 'gqa'; it has easy_vqa, easy_vqa_refer, easy_vqa_cap",
        ),
        ("stage1 --benchmarks easy_vqa,easy_vpa", "no benchmark 'easy_vpa'"),
        ("stage1 --preset trained", "'trained' is none of as_trained, authors_released"),
        ("stage1 --out ''", "'--out': it is empty"),
        ("stage1 --json=1", "--json"),
    ],
    "score": [
        ("gqa", "Missing option '--annotations'"),
        ("gqa --annotations params.yaml", "Missing option '--predictions'"),
        (f"nosuch {FILES}", "'nosuch' is no benchmark with files of predictions; known are "),
        (f"gqaa {FILES}", "did you mean gqa?"),
        (f"exact_match {FILES}", "'exact_match' is no benchmark with files of predictions"),
        (f"'' {FILES}", "'' is no benchmark"),
        ("gqa --annotations nosuch --predictions params.yaml", "--annotations nosuch does not exist"),
        ("gqa --annotations '' --predictions params.yaml", "'--annotations': it is empty"),
        (f"gqa {FILES} --annotations nosuch", "--annotations nosuch does not exist"),
        ("gqa --annotations params.yaml --predictions nosuch", "nosuch does not exist; name a file of predictions"),
        ("gqa --annotations params.yaml --predictions docs", "docs is a folder; name a file of predictions"),
        ("gqa --annotations params.yaml --predictions ''", "'--predictions': it is empty"),
        (f"gqa {FILES}", "params.yaml, line 2: 1 cells below a head of 2"),
        (f"gqa {FILES} --split nosuch", "--split nosuch: gqa has no such split; it has "),
        (f"gqa {FILES} --split ''", "--split : gqa has no such split"),
        (f"gqa {FILES} --allow-missing=1", "--allow-missing"),
        (f"gqa {FILES} --json=1", "--json"),
    ],
    "verify": [
        ("nosuch", "nosuch: "),
        ("''", "has no such step"),
        ("--from nosuch.lock", "nosuch.lock does not exist"),
        ("--from docs", "docs does not exist"),
        ("--from ''", "'--from': it is empty"),
        ("--from params.yaml", "params.yaml is not a lock file of DVC"),
        ("--committed=1", "--committed"),
        ("--json=1", "--json"),
    ],
    "diff": [
        ("nosuch stage1", "nosuch is no folder, no step"),
        ("stge1 stage2", "did you mean stage1?"),
        ("'' docs", "an empty name is no folder, no step"),
        ("docs dvc.yaml", "dvc.yaml is no folder, no step"),
        ("docs", "Missing argument 'RUN_B'"),
        (f"{'a' * 32} docs", NO_REGISTRY),
        ("stage1 stage2", "data/tiny/stage1 is missing; run `dvc repro stage1`, or `dvc pull`"),
    ],
    "replay": [
        ("nosuch --step 1", "stage 'nosuch' is none of stage1, stage2, stage3, stage4"),
        ("stage1", "Missing option '--step'"),
        *((f"stage1 --step {value}", "'--step'") for value in ("x", "1.5", "nan", "''")),
        *((f"stage1 --step {value}", f"--step {value}: stage1 of the profile tiny has") for value in ("0", "-1")),
        ("stage1 --step 99999999", "--step 99999999: stage1 of the profile tiny has the steps 1 to"),
        ("stage1 --step 1", "data/tiny/shards is missing; run `dvc repro shards`"),
        ("stage1 --step 1 --out ''", "'--out': it is empty"),
        (
            "stage1 --step 1 --profile smoke",
            "run `python -m flows.pipeline --profile smoke --to shards`, which works in",
        ),
        ("stage1 --step 1 --json=1", "--json"),
    ],
    "promote": [
        ("''", "'' is no version"),
        ("1.5", "'1.5' is no version"),
        ("'a b'", "'a b' is no version"),
        ("'a\nb'", "is no version"),
        ("7", NO_REGISTRY),
        ("nosuch", NO_REGISTRY),
        ("--json=1", "--json"),
    ],
    "rollback": [("--json=1", "--json")],
    "evaluate-champion": [("--json=1", "--json")],
    "serve": [
        ("nosuch", "nosuch is not a folder"),
        ("''", "an empty name is not a folder"),
        ("docs dvc.yaml", "dvc.yaml is not a folder"),
        ("models:/x", "an address is models:/<name>@<alias>"),
        *((f"docs --port {value}", "'--port'") for value in ("-1", "65536", "x", "''")),
        *((f"docs --{name} {value}", f"'--{name}'") for name in ("batch", "queue") for value in ("0", "-1", "x", "''")),
        *((f"docs --poll {value}", "'--poll'") for value in ("0", "-1", "nan", "inf", "x", "''")),
        ("docs --device gpu", "'gpu' is none of"),
        ("docs --ungated=1", "--ungated"),
    ],
    "web": [
        ("nosuch", "nosuch is not a folder"),
        ("docs ''", "an empty name is not a folder"),
        *((f"docs --port {value}", "'--port'") for value in ("-1", "65536", "x", "''")),
        ("docs --device gpu", "'gpu' is none of"),
        ("docs --ungated=1", "--ungated"),
    ],
}
"""What else can be wrong with a command's own arguments."""
ROOTS = [
    ("--root nosuch", "--root nosuch: there is no such folder"),
    ("--root dvc.yaml", "--root dvc.yaml: there is no such folder"),
    ("--root /", "no dvc.yaml in /"),
    ("--root 'a\nb'", "--root a\\nb: there is no such folder"),
    ("--root ''", "'--root': it is empty"),
    ("--root", "--root"),
]
PROFILES = [
    ("--profile nosuch", "configs/nosuch.yaml does not exist; profiles are eval-mini, paper, smoke, tiny"),
    ("--profile smoek", "did you mean smoke?"),
    ("--profile ''", "configs/.yaml does not exist"),
    ("--profile ../configs/tiny", "configs/../configs/tiny.yaml does not exist"),
    ("--profile 'a\nb'", "configs/a\\nb.yaml does not exist"),
]


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command of ``tinygptv`` by its words."""

    def below(group: object, words: str) -> Iterator[tuple[str, typer.core.TyperCommand]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from below(command, f"{words}{name} ")
            else:
                yield f"{words}{name}", command

    return dict(below(typer.main.get_command(app), ""))


def rows() -> list[tuple[str, str]]:
    """Command lines, and what their line must say."""
    found = [
        ("", "Missing command"),
        ("nosuch", "No such command 'nosuch'"),
        ("''", "No such command ''"),
        ("promot", "Did you mean 'promote'?"),
        ("--nosuch", "No such option: --nosuch"),
        ("team", "Missing command"),
        ("team nosuch", "No such command 'nosuch'"),
        ("team --nosuch", "No such option: --nosuch"),
    ]
    for name, command in commands().items():
        right = f"{name} {RIGHT[name]}"
        found.append((f"{right} --nosuch", "No such option: --nosuch"))
        if not any(parameter.nargs == -1 for parameter in command.params):
            optional = [p for p in command.params if p.param_type_name == "argument" and not p.required]
            found.append((f"{right} {'1 ' * len(optional)}surplus", "surplus"))
        found += [(f"{name} {given}", said) for given, said in VALUES.get(name, [])]
        if name in NEEDED:
            found.append((name, NEEDED[name]))
        options = {option for parameter in command.params for option in parameter.opts}
        found += [(f"{right} {given}", said) for given, said in ROOTS if "--root" in options]
        found += [(f"{right} {given}", said) for given, said in PROFILES if "--profile" in options]
    return found


ROWS = rows()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which nothing was made, and a picture."""
    folder = bare_clone(tmp_path_factory.mktemp("checkout"))
    shutil.copy(ROOT / "reports" / "tiny" / "answers.png", folder / "picture.png")
    return folder


def clean_environment() -> dict[str, str]:
    """Without an address of a store or server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "TINYGPTV_"))}


@pytest.fixture(scope="module")
def told(checkout: Path) -> dict[str, dict[str, object]]:
    """Command line → how the command ended."""
    lines = [shlex.split(line) for line, _ in ROWS]
    command = [sys.executable, str(Path(__file__).with_name("wrong.py")), json.dumps(lines)]
    done = subprocess.run(command, cwd=checkout, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip((line for line, _ in ROWS), json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("line", "said"), ROWS, ids=[repr(line) for line, _ in ROWS])
def test_a_wrong_command_line_is_one_line_at_once(told, line, said):
    found = told[line]
    assert found["code"] == 2, found
    assert found["out"] == ""
    assert str(found["err"]).startswith("tinygptv: ") and str(found["err"]).count("\n") == 1
    assert said in str(found["err"])
    assert found["heavy"] == [] and found["made"] == []


READERS = (
    *("results", "doctor", "plan --gpu 24", "lineage models:/tinygptv@champion", "diff docs docs", "status", "down"),
    *("team status", "team down", "team env", "--help"),
)
"""Commands that only look, and those that end what was never started."""


def test_what_only_reads_leaves_nothing(checkout):
    command = [
        sys.executable,
        str(Path(__file__).with_name("wrong.py")),
        json.dumps([line.split() for line in READERS]),
    ]
    done = subprocess.run(command, cwd=checkout, env=clean_environment(), capture_output=True, text=True, check=True)
    for line, found in zip(READERS, json.loads(done.stdout), strict=True):
        assert (found["made"], found["code"] in (0, 1, 2)) == ([], True), f"{line}: {found}"


def test_every_command_and_every_parameter_has_a_row():
    found = commands()
    assert set(RIGHT) == set(found) and set(VALUES) <= set(found) and set(NEEDED) <= set(found)
    general = {"--root", "--profile", "--help"}
    for name, command in found.items():
        given = " ".join(line for line, _ in VALUES.get(name, []))
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                assert VALUES.get(name), f"{name}: no row for {parameter.name}"
            elif not general & set(parameter.opts):
                assert any(option in given for option in parameter.opts), f"{name}: no row for {parameter.opts}"


@pytest.mark.parametrize("line", ["results --profile nosuch", "replay nosuch --step 1", "promote"])
def test_the_program_itself_says_it_so(checkout, line):
    command = [sys.executable, "-m", "tinygptv.cli", *shlex.split(line)]
    done = subprocess.run(command, cwd=checkout, env=clean_environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("tinygptv: ")
