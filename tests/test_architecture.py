"""Rules on the code that a reader relies on and that no other tool checks."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tinygptv.config.profiles import read_config
from tinygptv.ground import file_names
from tinygptv.ground.names import STAGES, STEPS
from tinygptv.ground.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
FILES = sorted([*(SOURCE / "tinygptv").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
GRAPH = read_yaml(ROOT / "dvc.yaml")["stages"]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))

NO_RESULT = (
    r"tinygptv\.(config(\..*)?|planning(\..*)?|tracking(\..*)?|ground\.(?!runtime).*)"
    r"|tinygptv\.steps\.(harness|__main__)|tinygptv(\..*)?\.__init__"
)
"""Modules that decide how a step is run, checked, shown or recorded, and not what comes out: no step depends on them.
(What a step needs of ``config/`` are values, which are among its ``params``.)
"""


PICKLE_READER = ("torch.load(", "src/tinygptv/model/authors/unpickle.py")
"""The one file that reads foreign pickles, with torch's restricted unpickler and in a process of its own."""


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def imported(path: Path) -> set[str]:
    """Absolute names that a file imports anywhere, functions included, but for those only a type checker reads."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting.extend(node.orelse)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{names(path)}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        else:
            waiting.extend(ast.iter_child_nodes(node))
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", FILES, ids=names)
def test_a_file_is_short_and_says_what_it_is(path):
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(tree(path))


@pytest.mark.parametrize("path", FILES, ids=names)
def test_nothing_runs_code_from_data_or_passes_over_what_does_not_fit(path):
    content = path.read_text()
    assert packages(path).isdisjoint({"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"})
    for word in ("extractall", "yaml.load(", "strict=False", "torch.load(", "weights_only=False", "trust_remote_code"):
        assert word not in content or (word, names(path)) == PICKLE_READER, word
    assert not re.search(r"except( Exception| BaseException)?:\s*\n\s*(pass|\.\.\.)\n", content)


FILE_NAMES = {text for text in vars(file_names).values() if isinstance(text, str) and re.fullmatch(r"\w+\.\w+", text)}


@pytest.mark.parametrize("path", FILES, ids=names)
def test_a_file_that_others_read_is_named_in_one_place(path):
    if names(path) != "src/tinygptv/ground/file_names.py":
        texts = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
        paths = [text for text in texts if isinstance(text, str) and not re.search(r"\s", text)]
        assert not [text for text in paths if text.rpartition("/")[2] in FILE_NAMES]


@pytest.mark.parametrize("path", FILES, ids=names)
def test_one_module_knows_how_dvc_lays_out_its_cache(path):
    if names(path) != "src/tinygptv/ground/dvc.py":
        texts = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
        assert not texts & {".dir", "files/md5", "??/*"} and '/ "files"' not in path.read_text()


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


def source_of(name: str) -> Path | None:
    """The file of a module, or of the module that a name was imported from."""
    place = SOURCE / Path(*name.split("."))
    if place.with_suffix(".py").is_file():
        return place.with_suffix(".py")
    if (place / "__init__.py").is_file():
        return place / "__init__.py"
    parent = name.rpartition(".")[0]
    return source_of(parent) if parent else None


@cache
def bindings(path: Path) -> tuple[dict[str, ast.AST], list[ast.AST]]:
    """What a file defines at its top level, by name, and its other statements."""
    defined: dict[str, ast.AST] = {}
    rest: list[ast.AST] = []
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                defined |= {name.id: node for name in ast.walk(target) if isinstance(name, ast.Name)}
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            rest.append(node)
    return defined, rest


@cache
def imports_of(node: ast.AST) -> dict[str, str]:
    """Local name to the project's own module or definition, for the imports below a node that run."""
    found: dict[str, str] = {}
    waiting = list(ast.iter_child_nodes(node))
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING":
            continue
        if isinstance(inner, ast.ImportFrom) and str(inner.module).startswith("tinygptv"):
            found |= {alias.asname or alias.name: f"{inner.module}.{alias.name}" for alias in inner.names}
        waiting.extend(ast.iter_child_nodes(inner))
    return found


@cache
def used(node: ast.AST) -> set[str]:
    """Names and dotted names that a node uses, but for annotations."""
    found: set[str] = set()
    waiting = [node]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            found |= {inner.value.id, f"{inner.value.id}.{inner.attr}"}
        elif isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING":
            continue
        for name, value in ast.iter_fields(inner):
            if name not in ("annotation", "returns"):
                waiting += [
                    item for item in (value if isinstance(value, list) else [value]) if isinstance(item, ast.AST)
                ]
    return found


@cache
def needed(step: str) -> frozenset[Path]:
    """The project's files that a step's results can depend on: those of every definition that ``run`` reaches."""
    start = SOURCE / "tinygptv" / "steps" / module_of(step)
    seen: set[tuple[Path, str]] = set()
    waiting = [(start, "run")]
    while waiting:
        path, name = waiting.pop()
        module = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        if (path, name) in seen or re.fullmatch(NO_RESULT, module):
            continue
        seen.add((path, name))
        defined, rest = bindings(path)
        top = imports_of(tree(path))
        for node in [*([defined[name]] if name in defined else []), *rest]:
            local = top | imports_of(node)
            for word in used(node):
                first, _, attribute = word.partition(".")
                if first in defined:
                    waiting.append((path, first))
                elif first in local:
                    target = source_of(local[first])
                    assert target is not None, local[first]
                    last = local[first].rpartition(".")[2]
                    if last != target.stem:  # a definition
                        waiting.append((target, last))
                    elif attribute:  # a module's
                        waiting.append((target, attribute))
    return frozenset(path for path, _ in seen)


def depends_on(step: str) -> list[Path]:
    return [ROOT / dep for dep in GRAPH[step]["deps"] if not dep.startswith(("data/", "reports/"))]


def test_the_graph_has_the_steps_in_their_order():
    assert tuple(GRAPH) == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_the_files_that_a_step_depends_on_exist(step):
    assert [names(path) for path in depends_on(step) if not path.exists()] == []


@pytest.mark.parametrize("step", [step for step in STEPS if step != "register"])
def test_a_step_depends_on_all_code_that_can_change_its_results(step):
    """A dependency that is not named in dvc.yaml would leave old results in place after a change of the code."""
    listed = depends_on(step)
    missing = [path for path in needed(step) if not any(path == dep or dep in path.parents for dep in listed)]
    assert sorted(map(names, missing)) == []


@pytest.mark.parametrize("step", ("download", "shards", "backbones", "features", *STAGES))
def test_nothing_before_the_evaluation_depends_on_it(step):
    assert not [dep for dep in GRAPH[step]["deps"] if "evaluation" in dep or "tracking" in dep]


def test_a_change_of_the_pictures_reruns_evaluate_alone():
    report = SOURCE / "tinygptv" / "evaluation" / "report.py"
    assert report.is_file()
    assert [s for s in STEPS if any(dep in (report, *report.parents) for dep in depends_on(s))] == ["evaluate"]


@pytest.mark.parametrize("step", STEPS)
def test_inputs_are_outputs_of_earlier_steps(step):
    data = [dep.removeprefix("data/${profile}/") for dep in GRAPH[step]["deps"] if dep.startswith("data/")]
    assert set(data) <= set(STEPS[: STEPS.index(step)])
    read = set(re.findall(r'context\.input\("(\w+)"\)', (SOURCE / "tinygptv" / "steps" / module_of(step)).read_text()))
    assert read <= set(data)


def module_of(step: str) -> str:
    return f"{'train' if step in STAGES else step}.py"


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


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_reads_a_setting_depends_on_it(step):
    content = (SOURCE / "tinygptv" / "steps" / module_of(step)).read_text()
    read = set(re.findall(r"\bconfig\.(\w+)", content)) - {"stage", "register_", "loader"}  # loader: speed alone
    assert {key for key in read if key in read_yaml(CONFIGS[0])} <= {key.partition(".")[0] for key in keys_of(step)}
    if re.search(r"context\.seed|job\.seed", content) and step not in ("features",):
        assert "seed" in GRAPH[step]["params"]
