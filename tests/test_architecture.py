"""What imports what, and what a step depends on: rules that a reader relies on and that no other tool checks."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.test_source_files import names, tree
from tinygptv.config.benchmarks import BENCHMARKS
from tinygptv.config.formats import FORMATS
from tinygptv.config.profiles import read_config
from tinygptv.ground.graph import entries_of, inputs_of
from tinygptv.ground.names import STAGES, STEPS
from tinygptv.ground.score_code import SCORE_CODE
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.steps.features import ROW_CODE
from tinygptv.steps.shards import TAR_CODE

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
GRAPH = entries_of(ROOT)
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

NO_RESULT = (
    r"tinygptv\.(config|fetching|planning|tracking|remotes(\..*)?|data\.(recognise|first_entries)|"
    r"ground\.(?!runtime).*|steps\.(harness|__main__))"
)
"""Modules that decide how a step is run, checked, shown or recorded, and not what comes out: no step depends on them.
(What a step needs of ``config/`` are values, which are among its ``params``; what is fetched is compared with digests.)
"""
NOT_REACHED = {
    ("data.formats.easy_vqa", "data.source"): {"evaluate", "quantize"},  # its benchmark takes words from there
    ("model.processing", "data.data_urls"): {"backbones", "features", *STAGES},  # only users hand in such pictures
    ("model.authors.names", "model.adapters"): {"backbones"},  # for checkpoints of stages, not for published weights
    ("model.stage_checkpoint", "model.adapters"): {"backbones"},  # where a stage's file is handed on as it is
    ("steps.train", "evaluation.held_out"): {*STAGES},  # in the view of a stage that asks: ground/score_code.py
    ("model.int8", "model.folders"): {*STAGES},  # only `quantize` writes a package
}
"""Importer and imported module → steps that never come to that import, whatever they call of the importer."""
MAKES_NO_BLOCK = {
    "features": {
        "data/boxes": "of records",
        "data/data_urls": "pictures of users",
        "data/index": "a block's name",
        "data/marks": "of texts",
        "data/prompts": "of texts",
        "data/record_json": "of records",
        "data/record_rules": "which format a name promises: another one is refused",
        "data/records": "an image's name by its digest: another one is refused",
        "data/summary": "texts of errors",
        "data/tasks": "of texts",
    },
    "shards": {
        "data/blip_caption": "texts of records, which are handed in",
        "data/blocks": "keeps them",
        "data/manifest": "raw files, whose digests are compared",
        "data/samples": "reads tars",
        "data/source": "raw files, whose digests are compared",
        "data/summary": "written anew each time; texts of errors",
        "data/tasks": "rules on records, which all are checked again before the blocks; texts of errors",
    },
}
"""Step → modules that its block function imports and that decide no byte of a block, with the reason."""

COUNTS_NOTHING = {
    "data/blip_caption": "raw files",
    "data/data_urls": "pictures of users",
    "data/manifest": "raw files",
    "data/samples": "tars without an index",
    "data/source": "raw files",
    "data/tar_index": "tars without an index",
    "data/tar_rows": "tars without an index",
    "model/package": "models in folders",
}
"""Modules that the counting of answers imports and that decide no score while a stage trains, with the reason."""


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("src/tinygptv/data/order.py", "from tinygptv.steps import harness", "Floors"),
        ("src/tinygptv/ground/names.py", "from tinygptv.config import Config", "Floors"),
        ("src/tinygptv/model/language/phi.py", "def late():\n    from tinygptv.training import loop", "Floors"),
        ("src/tinygptv/model/vision.py", "from tinygptv.model.language import AUTHORS", "image side"),
        ("src/tinygptv/tracking/version_tags.py", "from tinygptv.tracking.registry import description_of", "No circle"),
        ("src/tinygptv/serving/engine.py", "import mlflow", "MLflow"),
        ("src/tinygptv/services/up.py", "import prefect", "Prefect"),
        ("src/tinygptv/steps/train.py", "from flows import graph", "the flows"),
        ("flows/naming.py", "import torch", "Flows"),
        ("flows/runner.py", "from tinygptv.steps import harness", "Flows"),
    ],
)
def test_an_import_against_the_house_plan_fails_the_lint(tmp_path, file, line, contract):
    for name in ("src", "flows", "pyproject.toml"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'src'}:{tmp_path}"}
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    for expected in (0, 1):
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == expected, done.stdout + done.stderr
        with (tmp_path / file).open("a") as source:
            source.write(f"\n{line}\n")
    broken = [told for told in done.stdout.splitlines() if told.endswith("BROKEN")]
    assert any(contract in told for told in broken), done.stdout


def results_graph() -> grimp.ImportGraph:
    """The imports, in functions too, but for what decides no result."""
    graph = grimp.build_graph("tinygptv", exclude_type_checking_imports=True, cache_dir=None)
    for module in filter(re.compile(NO_RESULT).fullmatch, sorted(graph.modules, reverse=True)):
        graph.remove_module(module)
    return graph


def code_of(step: str) -> set[Path]:
    """The files that a step's module imports, and so on: but for what decides no result."""
    graph = results_graph()
    for importer, imported in (edge for edge, steps in NOT_REACHED.items() if step in steps):
        edge = {"importer": f"tinygptv.{importer}", "imported": f"tinygptv.{imported}"}
        assert graph.direct_import_exists(**edge), f"a line of NOT_REACHED that is no import: {edge}"
        graph.remove_import(**edge)
    by_name = {"shards": FORMATS, "evaluate": BENCHMARKS, "quantize": BENCHMARKS}.get(step, {})  # found by a table
    begin = {f"tinygptv.steps.{module_of(step)}", *by_name.values()}
    found = begin.union(*(graph.find_upstream_modules(module) for module in begin))
    places = [SOURCE / name.replace(".", "/") for name in found]
    return {place / "__init__.py" if place.is_dir() else place.with_suffix(".py") for place in places}


@pytest.mark.parametrize("step", [step for step in STEPS if step != "register"])
def test_a_step_depends_on_the_code_that_can_change_its_results_and_on_no_other(step):
    """Code that dvc.yaml does not name would leave old results in place; what it names too much costs hours."""
    needed, listed = code_of(step), {ROOT / dep for dep in GRAPH[step]["deps"] if dep.startswith("src/")}
    missing = {path for path in needed if listed.isdisjoint((path, *path.parents)) and len(tree(path).body) > 1}
    assert sorted(map(names, missing)) == []
    assert sorted(names(path) for path in listed if needed.isdisjoint((path, *path.rglob("*.py")))) == []


@pytest.mark.parametrize(
    ("step", "begin", "listed"),
    [
        ("features", ("model.row_maker", "ground.runtime"), ROW_CODE),
        ("shards", ("data.shard_blocks",), TAR_CODE),
    ],
)
def test_a_block_is_kept_by_the_code_that_makes_it_and_by_no_other(step, begin, listed):
    """What is not listed would leave old blocks in place; what is listed too much makes millions of images again."""
    graph = results_graph()
    reached = {f"tinygptv.{name}" for name in begin}
    reached = reached.union(*(graph.find_upstream_modules(module) for module in reached))
    found = {module.removeprefix("tinygptv.").replace(".", "/") for module in reached}
    assert sorted(found - set(listed)) == sorted(MAKES_NO_BLOCK[step])
    assert set(listed) <= found
    files = {ROOT / dep for dep in GRAPH[step]["deps"]}
    assert {SOURCE / "tinygptv" / f"{name}.py" for name in listed} <= files, "a file without a digest"


def test_the_code_that_counts_while_a_stage_trains_is_named_and_no_other():
    graph, begin = results_graph(), {"tinygptv.evaluation.held_out", *BENCHMARKS.values()}
    found = begin.union(*(graph.find_upstream_modules(module) for module in begin))
    needed = {SOURCE / name.replace(".", "/") for name in found} - {path.with_suffix("") for path in code_of("stage1")}
    needed = {path for path in needed if not path.is_dir()}  # a package's own file only says what it is
    listed = {SOURCE / "tinygptv" / name for name in SCORE_CODE}
    missing = {path for path in needed if listed.isdisjoint((path, *path.parents))}
    assert {path.relative_to(SOURCE / "tinygptv").as_posix() for path in missing} == set(COUNTS_NOTHING)
    assert [path for path in listed if not any(path in (of, *of.parents) for of in needed)] == []


@pytest.mark.parametrize("step", STEPS)
def test_the_files_that_a_step_depends_on_exist(step):
    files = [dep for dep in GRAPH[step]["deps"] if not dep.startswith(("data/", "reports/"))]
    assert [dep for dep in files if not (ROOT / dep).exists()] == []


def test_the_graph_has_the_steps_in_their_order():
    assert tuple(GRAPH) == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_inputs_are_outputs_of_earlier_steps(step):
    inputs = inputs_of(GRAPH[step])
    assert set(inputs) <= set(STEPS[: STEPS.index(step)])
    assert set(re.findall(r'context\.input\("(\w+)"\)', source_of(step))) <= set(inputs)


def module_of(step: str) -> str:
    return "train" if step in STAGES else step


def file_of(step: str) -> Path:
    return SOURCE / "tinygptv" / "steps" / f"{module_of(step)}.py"


def source_of(step: str) -> str:
    return file_of(step).read_text()


def keys_of(step: str) -> set[str]:
    """The keys of the profile's file that a change of makes the step run again."""
    entries = [entry for entry in GRAPH[step]["params"] if isinstance(entry, dict)]
    return {key for entry in entries for keys in entry.values() for key in keys}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_profile_has_every_key_of_the_graph(path):
    read_config(path)
    content = read_yaml(path)
    for step in STEPS:
        for key in keys_of(step):
            value = content
            for part in key.split("."):
                value = value[part]


def settings_read(path: Path) -> set[str]:
    """The sections of a profile that a file asks for, by the names that a profile's values have: ``config.section``."""
    asked = {
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == "config"
    }
    # loader: speed alone; data: what a step uses of it is in its view; init: is in what `download` writes of it
    return asked & read_yaml(CONFIGS[0]).keys() - {"loader", "data", "init"}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_depends_on_the_settings_that_its_code_reads(step):
    read = {
        section
        for path in ([file_of(step)] if step == "register" else code_of(step))
        for section in settings_read(path)
    }
    assert read <= {key.partition(".")[0] for key in keys_of(step)}
    if re.search(r"context\.seed|job\.seed", source_of(step)) and step not in ("features",):
        assert "seed" in GRAPH[step]["params"]
