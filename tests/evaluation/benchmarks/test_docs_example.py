"""The benchmark of docs/evaluation.md, added as the page says: its module, its line, its test, its use."""

from __future__ import annotations

import importlib.util
import json
import re
import sys

import pytest
from typer.testing import CliRunner

from tests.documents import ROOT
from tinygptv.cli import app
from tinygptv.config import benchmarks
from tinygptv.config.data import DataSet
from tinygptv.evaluation.benchmarks.table import benchmark_of

PAGE = (ROOT / "docs" / "evaluation.md").read_text()
SECTION = PAGE[PAGE.index("## A benchmark of your own") :]
NAME = "tinygptv.evaluation.benchmarks.counting"


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """The page's module, in the table by the page's line."""
    (line,) = re.findall(r"\+ +(\"counting\": .*),", SECTION)
    name, module = line.replace('"', "").split(": ")
    path = tmp_path / "counting.py"
    path.write_text(re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)[1])
    spec = importlib.util.spec_from_file_location(module, path)
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, module, loaded)
    spec.loader.exec_module(loaded)
    monkeypatch.setitem(benchmarks.BENCHMARKS, name, module)
    benchmark_of.cache_clear()
    yield loaded.BENCHMARK
    benchmark_of.cache_clear()


@pytest.mark.usefixtures("counting")
def test_the_test_of_the_page_passes():
    added = re.findall(r"(?m)^\+(?!\+\+)(.*)$", SECTION[SECTION.index("test_counting.py") :])
    names = {}
    exec("\n".join(added), names)
    names["test_off_by_one_counts_half"]()


@pytest.mark.usefixtures("counting")
def test_a_data_set_may_name_it_and_score_counts_by_it(tmp_path):
    assert DataSet(format="questions", licence="MIT", benchmark="counting").benchmark == "counting"
    questions = [{"id": n, "image": f"{n}.png", "question": "how many?", "answer": str(n)} for n in range(4)]
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    said = [{"id": n, "prediction": str(n + n % 2)} for n in range(4)]
    (tmp_path / "said.json").write_text(json.dumps(said))
    files = ["--annotations", str(tmp_path / "questions.json"), "--predictions", str(tmp_path / "said.json")]
    done = CliRunner().invoke(app, ["score", "counting", *files, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["official"] == {"accuracy": 0.75}
