"""Every command in the documentation.

It is run in a clone of the last commit, unless ``REASONS`` says why not; then it is at least parsed.
"""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.cli import main as dvc_main

from tests.documents import PAGES, blocks, check, commands
from tinygptv import cli

ROOT = Path(__file__).parents[1]

REASONS = {
    r"make (?!help)": "minutes; it is what runs these tests, or CI",
    r"(python -m flows|dvc (repro|exp|push|pull|commit|checkout|status|gc|metrics))\b": "minutes, or needs results",
    r"(git (clone|checkout)|cd|cp \.state)\b": "a place of the reader's",
    r"tinygptv (ask|verify|replay|diff|lineage|promote|rollback|evaluate(-champion)?)\b": "needs what a pipeline made",
    r"tinygptv (timeline|doctor --deep)\b": "needs what a pipeline made",
    r"tinygptv score ": "needs files of benchmarks",
    r"tinygptv data ": "needs data of one's own; tests/own_data does it",
    r"tinygptv (new|results --profile) ": "needs files of the reader's; tests/pipeline/test_own_data.py has some",
    r"tinygptv plan --profile cats ": "needs a profile of the reader's",
    r"tinygptv (export-checkpoint|import-checkpoint(?! --help)|reproduce)": "needs weights of gigabytes",
    r"tinygptv (serve|web|up|down|status|team)\b": "starts or asks servers; tests/services does",
    r"(mlflow|docker|curl|eval) ": "starts or asks servers; tests/services does what comes without containers",
    r"(pip install|hf download) |python -m tinygptv\.model\.upstream": "needs a network",
    r"git commit (?!-m Remote)": "of what the commands before it made",
    r"python benchmarks/gpu_": "needs a GPU",
    r"python benchmarks/float16": "a minute; tests/benchmarks/test_float16.py does less",
    r"python benchmarks/ablations\.py(?!.* --(dry-run|report))": "minutes a variant",
    r"(lmms-eval|tinygptv-lmms-data|\.) ": "in an environment of its own; `make lmms-eval` runs it",
    r"(torchrun .*|python) -m (tests\.drills|tinygptv\.steps)": "minutes, or needs what a pipeline made",
}
"""Of a command that is not run here, by a pattern of its beginning."""
CODES = {"tinygptv plan --profile paper --gpu 8 --json": 1, "tinygptv doctor": 1}
"""Exit codes other than 0: what does not fit into 8 GB, and a clone without data."""
SHOWN = {
    "README.md": ("configs/ ",),
    "docs/checkpoints.md": ("init: {from: ",),
    "docs/data.md": ("data:", "stage4: data set", "[", "--- a/", "--- /dev/null"),
    "docs/fetching.md": ('{"cats"',),
    "docs/evaluation.md": ("--- a/src", "--- /dev/null"),
    "docs/lineage.md": ("registry version <-", "<- quantize"),
    "docs/lmms_eval.md": ("tinygptv (pretrained",),
    "docs/memory.md": ("stage4: training needs", "Profile paper"),
    "docs/own_data.md": (
        "The model learned to use",
        "my data/shapes.json: llava",
        "results: `",
        "benchmark ",
        "remote://",
        "9 files",
        "tinygptv: ",
    ),
    "docs/operations.md": ("work_pool: ",),
    "docs/records.md": ("5af8aad46ad380d52eaa453ed092c706.json", "{", "data:"),
    "docs/remotes.md": ("ERROR: ", "registry "),
    "docs/resume.md": (".state/", "stage4: resume point"),
    "docs/scale.md": ("sky jobs launch ", "sbatch "),
    "docs/serving.md": ("scrape_configs:", '{"dataframe_split"', '{"predictions"'),
    "docs/team.md": ('{"mlflow_database"',),
}
"""Beginnings of blocks that are no commands and no Python: files and outputs."""
TASKS = "docs/tasks/"
"""These pages repeat commands of others: what is run there is not run again here."""
TYPED = [(block, words) for page in PAGES for block in blocks(page) for words in commands(block)]
RUN = [
    (block, words)
    for block, words in TYPED
    if not any(re.match(pattern, " ".join(words)) for pattern in REASONS)
    and not (block.page.startswith(TASKS) and any(words == w for b, w in TYPED if not b.page.startswith(TASKS)))
]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_exists_with_its_options(page):
    for block in blocks(page):
        found = commands(block)
        python = block.language == "python" or block.first.startswith("import ")
        shown = block.first.startswith(SHOWN.get(page, "\0"))
        assert (bool(found), python, shown).count(True) == 1, f"{block.name}: what is this block? See {__name__}"
        for words in found:
            try:
                check(words)
            except BaseException as error:
                raise AssertionError(f"{block.name}: {' '.join(words)}") from error
        if python:
            check_python(block.text)
        if shown and block.first.startswith("{") and "<" not in block.first:
            json.loads(block.text)


def check_python(text):
    """Whether what a program takes from this project is there; ``tests/data/test_records_doc.py`` runs one."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tinygptv"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_what_the_notebook_takes_is_there():
    """``tests/pipeline/test_docs.py`` runs it."""
    check_python((ROOT / "notebooks" / "tour.py").read_text())


CALLED = {"tinygptv plan": cli.main, "dvc remote": dvc_main}
"""What is called in this process, which has torch and DVC already, but on the pages ``STARTED``."""
STARTED = ("README.md", "docs/team.md")


@pytest.mark.parametrize("page", sorted({block.page for block, _ in RUN}))
def test_the_commands_of_a_page_that_need_nothing_are_run(page, tmp_path, monkeypatch, capfd):
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "TINYGPTV_"))}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "t", f"GIT_{role}_EMAIL": "t@t"}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "PYTHONPATH": str(ROOT / "src")}  # is compiled
    env |= {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    monkeypatch.chdir(root)
    for name in env:
        monkeypatch.setenv(name, env[name])
    begun = None
    for block, words in RUN:
        if block.page != page:
            continue
        if block is not begun and words[:3] == ["dvc", "remote", "add"]:  # another way to the same
            subprocess.run(["git", "reset", "-q", "--hard", "origin/HEAD"], cwd=root, check=True)
        begun = block
        if page not in STARTED and " ".join(words[:2]) in CALLED:
            code = CALLED[" ".join(words[:2])](words[1:])
            out, err = capfd.readouterr()
        else:
            done = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=False)
            code, out, err = done.returncode, done.stdout, done.stderr
        told = f"{block.name}: {' '.join(words)}: {code}\n{out}{err}"
        assert code == CODES.get(" ".join(words), 0), told
        assert "Traceback" not in err, told


def test_blocks_and_their_commands():
    text = (
        "a\n\n    $ tinygptv plan    # why\n    1 GB\n\n```bash\ncd x && dvc \\\n  repro [--force STEP]...\n```\n"
        "- item\n    no block\n\n    X=1 .venv/bin/python -m y\n\nb\n\n    just text\n"
    )
    found = [commands(block) for block in blocks("a.md", text)]
    assert found == [
        [["tinygptv", "plan"]],
        [["cd", "x"], ["dvc", "repro", "--force", "STEP"]],
        [["python", "-m", "y"]],
        [],
    ]


@pytest.mark.parametrize(
    "line",
    [
        "tinygptv plan --gpus 3",
        "tinygptv plans",
        "make everything",
        "dvc repro stage9",
        "dvc repro --forced",
        "python -m flows.nothing",
        "python -m flows.verify --fast",
        "tinygptv verify stage9",
        "pip install -e '.[gpu9]'",
    ],
)
def test_what_does_not_exist_is_seen(line, capfd):
    (words,) = commands(blocks("a.md", f"    {line}\n")[0])
    with pytest.raises(BaseException):  # noqa: B017 - each parser has its own
        check(words)
