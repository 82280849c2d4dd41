"""What we read of ``dvc.yaml`` where a stage is written once for several."""

import pytest

from tinygptv.ground.graph import entries_of, entry_of, graph_of, inputs_of, viewed_by

GRAPH = """\
vars: [{code: src/tinygptv}]
stages:
  shards: {cmd: make shards, outs: ["data/${profile}/shards"]}
  stage1: &stage
    vars: [{stage: stage1}, {parent: shards/manifest.json}]
    cmd: train ${stage} of ${profile}
    deps: ["${code}/data", "data/${profile}/shards", "data/${profile}/${parent}"]
    params: [seed, {"configs/${profile}.yaml": [model, "${stage}"]}]
    outs: ["data/${profile}/${stage}"]
    meta: {retries: 1}
  stage2: {<<: *stage, vars: [{stage: stage2, parent: stage1}]}
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    return tmp_path


def test_a_stage_has_all_vars_filled_in_and_keeps_the_profile_open(root):
    stage = entry_of(root, "stage2")
    assert stage["cmd"] == "train stage2 of ${profile}"
    assert stage["deps"] == ["src/tinygptv/data", "data/${profile}/shards", "data/${profile}/stage1"]
    assert stage["params"] == ["seed", {"configs/${profile}.yaml": ["model", "stage2"]}]
    assert stage["outs"] == ["data/${profile}/stage2"]
    assert stage["meta"] == {"retries": 1}
    assert list(entries_of(root)) == ["shards", "stage1", "stage2"]


def test_a_file_of_an_output_is_an_input_like_the_whole_of_it(root):
    assert graph_of(root) == {"shards": (), "stage1": ("shards",), "stage2": ("shards", "stage1")}


def test_who_depends_on_files_of_an_output_views_it():
    entry = {"deps": ["src/a.py", "data/x/shards/views/stage1.json", "data/x/stage1", "data/x/stage1/manifest.json"]}
    assert inputs_of(entry) == ("shards", "stage1")
    assert viewed_by(entry) == ("shards",)


def test_no_graph_and_no_such_stage_are_empty(root, tmp_path):
    assert entry_of(root, "stage3") == {}
    (root / "dvc.yaml").write_text("")
    assert entries_of(root) == {}
    (root / "dvc.yaml").unlink()
    assert graph_of(root) == {}
