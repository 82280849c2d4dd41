"""The documentation: its generated parts, every command and every table in it.

A command is run in a clone of the last commit, unless ``REASONS`` says why not; then it is at least parsed.
"""

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.documents import PAGES, blocks, cells, check, commands, tables
from tinygptv.config import Config, Task, parse_entry
from tinygptv.config.profiles import read_config
from tinygptv.docs import REFERENCE, RESULTS_BEGIN, RESULTS_END, main, reference

ROOT = Path(__file__).parents[1]


def test_the_committed_reference_is_current():
    assert (ROOT / REFERENCE).read_text() == reference(ROOT), "run `python -m tinygptv.docs`"


def sections(cls=Config):
    for field in cls.model_fields.values():
        if hasattr(field.annotation, "model_fields"):
            yield field.annotation
            yield from sections(field.annotation)


def test_every_key_and_description_is_there(tmp_path):
    text = reference(tmp_path)
    for cls in sections():
        for name, field in cls.model_fields.items():
            assert name in text
            assert field.description is None or field.description in text


def test_values_come_from_the_profiles(tmp_path):
    (tmp_path / "configs").mkdir()
    tiny = tmp_path / "configs" / "tiny.yaml"
    tiny.write_text("runtime: {threads: 2}\nstage1: {epochs: 3}\nstage2: {epochs: 4}\n")
    text = reference(tmp_path)
    assert "| `threads` | whole number | ≥ 1 | CPU threads of torch; part of what decides the bits. | `2` |" in text
    assert "begin from, byte for byte. | `3` / `4` / - / - |" in text
    assert "paper |" not in text


def test_check_tells_stale_from_current(tmp_path, monkeypatch, capsys):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    shutil.copytree(ROOT / "reports" / "tiny", tmp_path / "reports" / "tiny")
    (tmp_path / "README.md").write_text(f"before\n{RESULTS_BEGIN}\n{RESULTS_END}\nafter\n")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["docs", *arguments])
        return main()

    assert run("--check") == 1
    assert run() == 0
    assert run("--check") == 0
    shown = (tmp_path / "README.md").read_text()
    assert shown.startswith("before\n") and shown.endswith("after\n") and "| easy_vqa | 8 bits |" in shown
    for path in (tmp_path / REFERENCE, tmp_path / "README.md"):
        content = path.read_text()
        path.write_text(content.replace("|", "!", 1))
        assert run("--check") == 1
        path.write_text(content)
    assert "python -m tinygptv.docs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "heading", ["## `stage1`, `stage2`, `stage3`, `stage4`", "### `register.gate`", "## `register`"]
)
def test_equal_sections_share_a_table(heading, tmp_path):
    assert f"\n{heading}\n" in reference(tmp_path)


REASONS = {
    r"make (?!help)": "minutes; it is what runs these tests, or CI",
    r"(python -m flows|dvc (repro|exp|push|pull|commit|checkout|status|gc|metrics))\b": "minutes, or needs results",
    r"(git (clone|checkout)|cd|cp \.state)\b": "a place of the reader's",
    r"tinygptv (ask|verify|replay|diff|lineage|promote|rollback|evaluate(-champion)?)\b": "needs what a pipeline made",
    r"tinygptv score ": "needs files of benchmarks",
    r"tinygptv data ": "needs data of one's own; tests/own_data does it",
    r"tinygptv (new|results --profile) ": "needs files of the reader's; tests/pipeline/test_own_data.py has some",
    r"tinygptv (export-checkpoint|import-checkpoint(?! --help)|reproduce)": "needs weights of gigabytes",
    r"tinygptv (serve|web|up|down|status|team)\b": "starts or asks servers; tests/services does",
    r"(mlflow|docker|curl|eval) ": "starts or asks servers; tests/services does what comes without containers",
    r"(pip install|hf download) |python -m tinygptv\.model\.upstream": "needs a network",
    r"git commit (?!-m Remote)": "of what the commands before it made",
    r"python benchmarks/gpu_": "needs a GPU",
    r"(lmms-eval|tinygptv-lmms-data|\.) ": "in an environment of its own; `make lmms-eval` runs it",
    r"python -m (tests\.drills|tinygptv\.steps)": "minutes, or needs what a pipeline made",
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
        "my data/shapes.json: llava",
        "results: `",
        "benchmark ",
        "remote://",
        "9 files",
        "tinygptv: ",
    ),
    "docs/records.md": ("5af8aad46ad380d52eaa453ed092c706.json", "{", "data:"),
    "docs/remotes.md": ("ERROR: ", "registry "),
    "docs/resume.md": (".state/", "stage4: resume point"),
    "docs/serving.md": ("scrape_configs:", '{"dataframe_split"', '{"predictions"'),
    "docs/team.md": ('{"mlflow_database"',),
}
"""Beginnings of blocks that are no commands and no Python: files and outputs."""
RUN = [
    (block, words)
    for page in PAGES
    for block in blocks(page)
    for words in commands(block)
    if not any(re.match(pattern, " ".join(words)) for pattern in REASONS)
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


@pytest.mark.parametrize("page", sorted({block.page for block, _ in RUN}))
def test_the_commands_of_a_page_that_need_nothing_are_run(page, tmp_path):
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(root)], check=True)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "TINYGPTV_"))}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "t", f"GIT_{role}_EMAIL": "t@t"}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "PYTHONPATH": str(root / "src")}
    env |= {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    begun = None
    for block, words in RUN:
        if block.page != page:
            continue
        if block is not begun and words[:3] == ["dvc", "remote", "add"]:  # another way to the same
            subprocess.run(["git", "reset", "-q", "--hard", "origin/HEAD"], cwd=root, check=True)
        begun = block
        done = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=False)
        told = f"{block.name}: {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == CODES.get(" ".join(words), 0), told
        assert "Traceback" not in done.stderr, told


@pytest.mark.parametrize("page", PAGES)
def test_every_table_of_a_page_is_one(page):
    for head, *rest in tables(page):
        assert rest and re.fullmatch(r"\|([ :-]*-[ :-]*\|)+", rest[0]), f"no head: {head}"
        assert [row for row in rest if cells(row) != cells(head)] == []


def test_a_gap_and_a_missing_cell_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.documents.ROOT", tmp_path)
    (tmp_path / "a.md").write_text("| a | b |\n|---|---|\n| 1 | `x \\| y` |\n\n| 2 | 3 |\n\n```\n| no table\n```\n")
    (first, second) = tables("a.md")
    assert [cells(row) for row in first] == [2, 2, 2]
    assert second == ["| 2 | 3 |"]


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


def test_adding_a_task_names_every_file_that_names_one():
    _, _, rest = (ROOT / "CONTRIBUTING.md").read_text().partition("## Adding a task\n")
    section, tasks = rest.partition("\n## ")[0], set(get_args(Task))
    for path in (ROOT / "src" / "tinygptv").rglob("*.py"):
        if path.parent.name in ("formats", "benchmarks", "fetching"):
            continue  # each says which records it gives, asks or writes
        words = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert path.name in section or not words & tasks, path
    for name in re.findall(r"`([a-z_]+/[a-z_]+\.py)`", section):
        assert (ROOT / "src" / "tinygptv" / name).is_file(), name
    for profile in ("tiny", "smoke"):
        mixture = read_config(ROOT / "configs" / f"{profile}.yaml").stage4.mixture
        assert {parse_entry(entry).family for entry in mixture} == tasks - {"conversation"}, "easy-VQA has none"


def rows_of(page, heading):
    """The cells of the table below a heading, its head first."""
    section = (ROOT / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|") and not line.startswith("|--")
    ]


def test_the_page_on_the_architecture_names_files_that_are_there():
    """Also those that it names from ``src/tinygptv`` on; each row of what to change has a test."""
    page = "docs/architecture.md"
    named = re.findall(r"`([a-z_]+/[\w./*-]*)`", (ROOT / page).read_text())
    assert len(named) > 50
    assert [n for n in named if not any([*ROOT.glob(f"src/tinygptv/{n}"), *ROOT.glob(n)])] == []
    _, *rows = rows_of(page, "Where to change what")
    assert [what for what, _, test, _ in rows if "`tests/" not in test] == []


def test_the_table_of_the_stages_says_what_the_profiles_say():
    head, *rows = rows_of("docs/architecture.md", "The four stages")
    table = {row[0]: row[1:] for row in rows}
    profiles = [read_config(ROOT / "configs" / f"{name}.yaml") for name in ("paper", "tiny")]
    for column, name in enumerate(cell.strip("`") for cell in head[1:]):
        paper, tiny = (profile.stage(name) for profile in profiles)
        assert table["image, pixels a side"][column] == f"{paper.image_size} ({tiny.image_size})"
        repeats = f"{paper.repeats} times " if paper.repeats > 1 else ""
        assert table["steps"][column] == f"{repeats}{paper.steps_per_repeat:,} ({tiny.steps})"
        longest = [f"{stage.max_answer_tokens:,}, {stage.max_sequence_tokens:,}" for stage in (paper, tiny)]
        assert table["longest answer, sequence"][column] == "{} ({})".format(*longest)
        assert table["blocks computed twice"][column].startswith("yes" if paper.gradient_checkpointing else "no")
        assert table["trains"][column].endswith("norms") == ("lora" not in paper.trainable)
        for form, rate in zip(("{}", "({}"), (paper.learning_rate, tiny.learning_rate), strict=True):
            told = f"{exponent(rate.warmup)} to {exponent(rate.init)} in {rate.warmup_steps:,}"
            same = rate == profiles[1].stage1.learning_rate and "(as stage 1)" in table["rate: warm-up, then"][column]
            assert same or form.format(told) in table["rate: warm-up, then"][column], (name, told)
    text = (ROOT / "docs" / "architecture.md").read_text()
    for profile, name in zip(profiles, ("paper", "tiny"), strict=True):
        first, second = (profile.stage(stage).model_dump() for stage in ("stage1", "stage2"))
        keys = [f"`{key}`" for key in first if first[key] != second[key]]
        (told,) = re.findall(rf"((?:`\w+`(?:, | and )?)+) in\s+`configs/{name}.yaml`", text)
        assert sorted(re.findall(r"`\w+`", told)) == sorted(keys)


def exponent(number):
    """As the page writes it: 1e-4."""
    return re.sub(r"e-0", "e-", f"{number:.0e}")


YOURS = {
    "configs/mine.yaml",
    "src/tinygptv/data/formats/token_lines.py",
    "src/tinygptv/evaluation/benchmarks/counting.py",
}
"""Files that a page tells its reader to make."""


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_what_a_page_names_is_there(page):
    """Files of the project, links and their headings, the project's variables; the changelog is about the past."""
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:src|tests|docs|benchmarks|flows|configs|scripts|deploy)/[\w./-]+)`", text)
    assert [name for name in named if name not in YOURS and not (ROOT / name).exists()] == []
    for link, _, heading in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", text):
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), link
        heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    code = "".join(
        path.read_text() for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("flows/*.py"), ROOT / "Makefile"]
    )
    assert [name for name in re.findall(r"`(TINYGPTV_[A-Z0-9_]+)`", text) if name not in code] == []
