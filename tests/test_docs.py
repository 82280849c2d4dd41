"""The documentation: its generated parts, its tables, and the names in it."""

import ast
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from tests.documents import PAGES, cells, tables
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
