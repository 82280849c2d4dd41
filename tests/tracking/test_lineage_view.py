"""The chain on a terminal of 100 columns, and as Markdown."""

from dataclasses import replace

from tinygptv.tracking.chain import Chain, Link, Version
from tinygptv.tracking.description import LONGEST_DESCRIPTION, describe_version
from tinygptv.tracking.lineage_view import markdown, text

ENVIRONMENT = {
    "python": "3.11.7",
    "torch": "2.13.0+cu130",
    "transformers": "5.23.0",
    "machine": "x86_64",
    "processor": "Intel(R) Xeon(R) Platinum 8480+ CPU @ 2.00GHz",
    "cpu_capability": "AVX512",
    "gpu": "NVIDIA H100 80GB HBM3",
    "gpu_driver": "580.95.05",
    "numpy": "2.4.6",
}
VERSION = Version(
    name="tinygptv",
    version="3",
    aliases=("challenger", "champion"),
    profile="tiny",
    git_sha="b" * 40,
    package_sha256="4" * 64,
    created_at="2026-11-21T16:25:34+00:00",
    promoted_by="root",
    promoted_at="2026-11-21T16:25:35+00:00",
    gate_passed=True,
    gate_reasons="none",
    metrics={"easy_vqa": "0.99907", "easy_vqa_caption": "1.0"},
    problems=(),
)
WHOLE = Link(
    step="quantize",
    md5="a" * 32 + ".dir",
    run_id="9" * 32,
    status="FINISHED",
    finished_at="2026-11-21T16:25:26+00:00",
    runs=3,
    git_sha="b" * 40,
    git_dirty=True,
    config_sha256="c" * 64,
    environment=ENVIRONMENT,
    environment_sha256="d" * 64,
    flow_run_id="6d0e8262-46b4-43f2-9b6c-3d231e583338",
    user="root",
    inputs=dict.fromkeys(("shards", "backbones", "features", "stage1", "stage2", "stage3", "stage4", "evaluate"), "x"),
)
OLDER = Link(step="stage3", md5="e" * 32 + ".dir", run_id="8" * 32, status="KILLED", problems=("it was killed",))
GONE = Link(step="stage2", md5="f" * 32 + ".dir", problems=("no run made this output",))


def test_a_terminal_of_100_columns_shows_all_of_a_link():
    shown = text(Chain(subject="x", version=VERSION, links=(WHOLE,)))
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.isascii()
    expected = """\
tinygptv version 3 (challenger, champion)
   promoted       by root, 2026-11-21 16:25:35 UTC
   gate           passed
   figures        easy_vqa 0.99907, easy_vqa_caption 1.0
   package        sha256 4444444444444444444444444444444444444444444444444444444444444444
   registered     2026-11-21 16:25:34 UTC, profile tiny

<- quantize    md5 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.dir  2026-11-21 16:25:26 UTC by root
   commit         bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb (dirty), configuration cccccccccccc
   environment    dddddddddddd: python 3.11.7, torch 2.13.0+cu130, Intel(R) Xeon(R) Platinum 8480+
                  CPU @ 2.00GHz, AVX512, NVIDIA H100 80GB HBM3, driver 580.95.05
   run            99999999999999999999999999999999, flow run 6d0e8262-46b4-43f2-9b6c-3d231e583338
                  3 finished runs made the same bytes; this one fits the chain best
   read           shards, backbones, features, stage1, stage2, stage3, stage4, evaluate

complete: 1 link"""
    assert shown == expected


def test_what_is_missing_is_told_where_it_is_missing():
    shown = text(Chain(subject="x", links=(WHOLE, OLDER, GONE), problems=("the store is gone",)))
    links = shown.split("\n\n")
    assert "BROKEN" not in links[0]
    assert "configuration not recorded" in links[1]
    assert links[1].endswith("   BROKEN         it was killed")
    assert links[2] == f"<- stage2      md5 {'f' * 32}.dir\n   BROKEN         no run made this output"
    assert links[3].splitlines()[-1] == "BROKEN         3 problems, in: lineage, stage3, stage2"


def test_who_promoted_what_says_what_is_known():
    unknown = {"promoted_by": None, "promoted_at": None}
    assert "promoted       not recorded\n" in text(Chain(subject="x", version=replace(VERSION, **unknown)))
    challenger = replace(VERSION, aliases=("challenger",), gate_passed=False, gate_reasons="too low", **unknown)
    shown = text(Chain(subject="x", version=challenger))
    assert "promoted       never\n" in shown
    assert "gate           refused: too low\n" in shown
    odd = replace(VERSION, promoted_at="yesterday")
    assert "by root, yesterday" in text(Chain(subject="x", version=odd))


def test_markdown_has_a_row_a_link_and_says_what_is_broken():
    lines = markdown(Chain(subject="x", version=VERSION, links=(WHOLE, replace(WHOLE, step="evaluate"), GONE)))
    rows = [line for line in lines if line.startswith("| ")]
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    assert rows[1].startswith(f"| quantize | `{'a' * 32}.dir` | `{'b' * 12}` dirty | `{'c' * 12}` | `{'d' * 12}` |")
    assert sum("NVIDIA H100" in line for line in lines) == 1  # an environment that two links share is told once
    assert f"| `6d0e8262-46b` | {WHOLE.finished_at[:10]}" in rows[1]  # whole it would make each row three lines high
    assert sum(str(WHOLE.flow_run_id) in line for line in lines) == 1
    assert lines[-1] == "- stage2: no run made this output"


def test_a_card_that_a_database_would_refuse_is_cut():
    text = describe_version(Chain(subject="x", version=VERSION, links=(WHOLE,)), {}, {})
    assert "Gate: passed. Champion: by root, 2026-11-21 16:25:35 UTC." in text
    assert text.endswith("In full: `tinygptv lineage models:/tinygptv/3`.\n")
    long = describe_version(Chain(subject="x", version=VERSION, links=(WHOLE,) * 50), {}, {})
    assert LONGEST_DESCRIPTION - 400 < len(long) <= LONGEST_DESCRIPTION
    assert long.endswith("Cut here: `tinygptv lineage` has all of it.\n")
