"""Which steps DVC runs again after an edit: the project's own graph and code, stand-ins for what the steps make."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from tinygptv.ground.graph import entries_of
from tinygptv.ground.names import STAGES, STEPS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "src/tinygptv/"
MODEL = {"backbones", *STAGES, "evaluate", "quantize"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A checkout in which every step is up to date, as DVC sees it."""
    root = tmp_path_factory.mktemp("reruns")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)  # DVC takes a stage's path from there, whatever the repository
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))
        for name in ("src", "configs"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "params.yaml"):
            shutil.copy(ROOT / name, root)
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        Repo.init(str(root)).close()
        with Repo(str(root)) as repo:
            for out in repo.index.outs:
                path = Path(out.fs_path)
                made = path if path.suffix else path / "manifest.json"
                made.parent.mkdir(parents=True, exist_ok=True)
                made.write_text(path.name)
            for stage in repo.index.stages:
                for dep in stage.deps:
                    path = Path(dep.fs_path)
                    if path.is_relative_to(root / "data") and not path.exists():  # a file within an output
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_text(path.name)
            repo.commit(force=True)
        with Repo(str(root)) as repo:
            assert repo.status() == {"download": ["always changed"]}
            yield repo


@pytest.fixture
def reruns_after(repository):
    """The steps that see a changed dependency while files have another content."""

    def ask(edit, *files):
        before = {path: path.read_text() for path in (Path(repository.root_dir) / file for file in files)}
        try:
            for path, content in before.items():
                path.write_text(edit(content))
            assert all(path.read_text() != content for path, content in before.items())
            with repository.lock:  # `dvc status`, without reading the graph again
                status = [change for stage in repository.index.stages for change in stage.status().items()]
        finally:
            for path, content in before.items():
                path.write_text(content)
        return {step for step, told in status if any("changed deps" in change for change in told)}

    return ask


def edited(content):
    return f"{content}\n# edited\n"


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        (SOURCE + "data/source.py", {"download", "shards"}),
        (SOURCE + "data/formats/llava.py", {"shards"}),
        (SOURCE + "data/formats/easy_vqa.py", {"shards", "evaluate", "quantize"}),
        (SOURCE + "data/order.py", {*STAGES}),
        (SOURCE + "data/views.py", MODEL | {"shards", "features"}),
        (SOURCE + "data/prompts.py", MODEL | {"features"}),
        (SOURCE + "data/feature_rows.py", {"features"}),
        (SOURCE + "model/vision.py", MODEL | {"features"}),
        (SOURCE + "model/language/phi.py", MODEL),
        (SOURCE + "model/authors/exporter.py", {"backbones"}),
        (SOURCE + "pretraining/standins.py", {"backbones"}),
        (SOURCE + "training/loop.py", {*STAGES}),
        (SOURCE + "evaluation/report.py", {"evaluate"}),
        (SOURCE + "evaluation/package_card.py", {"quantize"}),
        (SOURCE + "evaluation/benchmarks/easy_vqa.py", {"evaluate", "quantize"}),
        (SOURCE + "steps/evaluate.py", {"evaluate"}),
        (SOURCE + "promotion/decide.py", {"register"}),
        (SOURCE + "tracking/registry.py", {"register"}),
        ("data/tiny/download/sets", {"shards"}),
        ("data/tiny/download/init.json", {"backbones"}),
        ("data/tiny/download/uses.json", {"shards", "features"}),
        ("data/tiny/shards/manifest.json", set()),  # whoever reads shards depends on a view of them
        ("data/tiny/shards/views/backbones.json", {"backbones"}),
        ("data/tiny/shards/views/features.json", {"features"}),
        ("data/tiny/shards/views/stage3.json", {"stage3"}),
        ("data/tiny/shards/views/evaluate.json", {"evaluate", "quantize"}),
        ("data/tiny/backbones/manifest.json", MODEL - {"backbones"}),
        ("data/tiny/backbones/image_encoder.safetensors", MODEL - {"backbones"} | {"features"}),
        ("data/tiny/features/manifest.json", set()),
        ("data/tiny/features/views/stage1.json", {"stage1"}),
        ("data/tiny/features/views/stage4.json", {"stage4"}),
        ("data/tiny/stage1/manifest.json", {"stage2", "evaluate", "quantize"}),
        ("data/tiny/stage4/manifest.json", {"evaluate", "quantize"}),
        ("reports/tiny/evaluate.json", {"register"}),
    ],
)
def test_an_edit_reruns_the_steps_whose_results_it_can_change(reruns_after, file, steps):
    assert reruns_after(edited, file) == steps


def test_an_edit_of_what_decides_no_result_reruns_nothing(reruns_after):
    files = ("serving/app.py", "planning/plan.py", "config/model.py", "ground/locks.py", "steps/harness.py")
    assert reruns_after(edited, *(SOURCE + file for file in files)) == set()  # of config, steps depend on the values


@pytest.mark.parametrize(
    ("file", "old", "new", "steps"),
    [
        ("params.yaml", "seed: 7", "seed: 8", MODEL),
        ("configs/tiny.yaml", "\nstage2:\n", "\nstage2:\n  log_every: 1\n", {"stage2"}),
        ("configs/tiny.yaml", "outlier_threshold: 0.0", "outlier_threshold: 6.0", {*STAGES, "quantize"}),
        ("configs/tiny.yaml", "workers: ", "workers: 1", set()),
        ("configs/tiny.yaml", "rank: 32", "rank: 16", MODEL),  # no features
        ("configs/tiny.yaml", "dropout: 0.0}", "dropout: 0.1}", MODEL),
        ("configs/tiny.yaml", "resid_pdrop: 0.0", "resid_pdrop: 0.1", MODEL),
        (
            "configs/tiny.yaml",
            "###Human: {} ###Assistant: ",
            "Q: {} A: ",
            {"backbones", "stage3", "stage4", "quantize"},
        ),
        ("configs/tiny.yaml", "easy_vqa/vqa: 72", "easy_vqa/vqa: 50", {"stage4"}),  # a weight moves no record
        ("configs/tiny.yaml", "image_size: 128", "image_size: 96", {"features", "stage4"}),
        ("configs/tiny.yaml", "dtype: float32", "dtype: bfloat16", MODEL | {"features"}),
        (
            "configs/tiny.yaml",
            "\ndata:\n",
            "\ndata:\n  more: {format: llava, licence: MIT}\n",
            {"shards", "evaluate", "quantize"},
        ),
    ],
)
def test_a_setting_reruns_the_steps_that_depend_on_it(reruns_after, file, old, new, steps):
    assert reruns_after(lambda content: content.replace(old, new), file) - {"download"} == steps


def test_our_reading_of_the_graph_is_that_of_dvc(repository):
    stages = entries_of(Path(repository.root_dir))
    assert tuple(stages) == STEPS
    for stage in repository.index.stages:
        given = [dep.replace("${profile}", "tiny") for dep in stages[stage.name]["deps"]]
        assert given == [dep.def_path for dep in stage.deps if dep not in stage.params]
        keys = {"params.yaml": [entry for entry in stages[stage.name]["params"] if entry == "seed"]}
        for entry in stages[stage.name]["params"]:
            if entry != "seed":
                keys |= {path.replace("${profile}", "tiny"): listed for path, listed in entry.items()}
        assert {path: listed for path, listed in keys.items() if listed} == {p.def_path: p.params for p in stage.params}
