"""The command: everything that it can be given, what each form of it finds, and the exit codes."""

import json
import shutil
import uuid

import pytest

from tests.tracking.pipelines import ROOT, some_md5
from tinygptv.cli import main
from tinygptv.ground.dvc import dvc_md5
from tinygptv.ground.errors import EXIT_PASSING
from tinygptv.ground.files import sha256_tree
from tinygptv.ground.names import STEPS


@pytest.fixture
def checkout(made, tmp_path, monkeypatch):
    """The store's folder as a checkout in which stage 4 and the 8-bit package lie."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for path in ("stage4/trained.safetensors", "quantize/predictions.json", "quantize/model/model.safetensors"):
        file = tmp_path / "data" / "tiny" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    for step in ("stage4", "quantize"):
        made.made_again(step, dvc_md5(tmp_path / "data" / "tiny" / step))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(capsys, *arguments):
    code = main(["lineage", *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else captured.err


def first_link(capsys, *arguments):
    """Of a chain that is complete, without a version."""
    code, chain = asked(capsys, *arguments)
    assert (code, chain["complete"], chain["version"], chain["broken"]) == (0, True, None, [])
    assert chain["links"][-1]["step"] == "download"
    return chain["links"][0]


def test_a_version_by_alias_and_number(made, checkout, capsys):
    for subject in (f"models:/{made.name}@champion", f"models:/{made.name}/1"):
        code, chain = asked(capsys, subject)
        assert (code, chain["subject"], chain["version"]["name"]) == (0, subject, made.name)
        assert [link["step"] for link in chain["links"]] == list(reversed(STEPS))


def test_the_text_is_for_people(made, checkout, capsys):
    assert main(["lineage", f"models:/{made.name}@champion"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{made.name} version 1 (champion)\n")
    assert shown.endswith("complete: 11 links\n")


def test_a_folder_by_its_content_wherever_it_lies(made, checkout, tmp_path_factory, capsys):
    place = checkout / "data" / "tiny" / "stage4"
    link = first_link(capsys, "data/tiny/stage4")
    assert (link["step"], link["md5"], link["run_id"]) == ("stage4", dvc_md5(place), made.runs["stage4"])
    elsewhere = shutil.copytree(place, tmp_path_factory.mktemp("far") / "copy")
    assert first_link(capsys, elsewhere) == link
    assert first_link(capsys, "data/tiny/stage4", "--root", checkout) == link


def test_the_8_bit_package_by_its_version_and_before_that_by_its_step(made, checkout, tmp_path_factory, capsys):
    package = checkout / "data" / "tiny" / "quantize" / "model"
    assert first_link(capsys, "data/tiny/quantize/model")["run_id"] == made.runs["quantize"]
    made.tracking.mlflow.set_model_version_tag(made.name, "1", "package.sha256", sha256_tree(package))
    for folder in (package, shutil.copytree(package, tmp_path_factory.mktemp("far") / "copy")):
        code, chain = asked(capsys, folder)
        assert (code, chain["version"]["version"], chain["links"][0]["step"]) == (0, "1", "register")


def test_a_run_and_a_digest_with_and_without_its_ending(made, checkout, capsys):
    md5 = made.md5["stage2"]
    links = [first_link(capsys, subject) for subject in (made.runs["stage2"], md5, md5.removesuffix(".dir"))]
    assert [link["run_id"] for link in links] == [made.runs["stage2"]] * 3
    assert first_link(capsys, made.runs["register"])["inputs"] == {"quantize": made.md5["quantize"]}


def test_a_digest_that_no_run_made_but_one_has_read(made, checkout, capsys):
    made.tracking.mlflow.delete_run(made.runs["stage2"])
    code, chain = asked(capsys, made.md5["stage2"])
    assert (code, chain["broken"][0]) == (1, ["stage2", "no run made this output"])


def test_a_digest_that_only_the_lock_records(made, checkout, capsys):
    md5 = some_md5()
    (checkout / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  features:\n    cmd: x\n    outs:\n    - {{path: data/tiny/features, md5: {md5}}}\n"
    )
    code, chain = asked(capsys, md5)
    assert (code, chain["broken"][0]) == (1, ["features", "no run made this output"])


def test_a_folder_that_was_changed(made, checkout, capsys):
    folder = checkout / "data" / "tiny" / "stage4"
    before = dvc_md5(folder)
    (checkout / "dvc.lock").write_text(
        f"schema: '2.0'\nstages:\n  stage4:\n    cmd: x\n    outs:\n    - {{path: data/tiny/stage4, md5: {before}}}\n"
    )
    assert first_link(capsys, folder)["md5"] == before
    (folder / "trained.safetensors").write_text("changed")
    code, chain = asked(capsys, folder)
    told = f"{folder} has the md5 {dvc_md5(folder)}, but dvc.lock records {before}"
    assert (code, chain["broken"][:2]) == (1, [["stage4", told], ["stage4", "no run made this output"]])


def test_a_missing_store_is_a_broken_lineage_and_stays_missing(made, checkout, monkeypatch, capsys):
    store = checkout / "none.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    for subject in (f"models:/{made.name}@champion", "data/tiny/stage4", made.md5["stage2"]):
        code, chain = asked(capsys, subject)
        assert (code, chain["complete"]) == (1, False)
        assert chain["problems"][0].startswith(f"sqlite:///{store} does not exist")
        assert [link["step"] for link in chain["links"]] == (["stage4"] if "data" in subject else [])
    assert not store.exists()


def test_what_names_nothing_is_one_line_with_the_code_of_the_user(made, checkout, capsys):
    (checkout / "other").mkdir()
    (checkout / "other" / "file").write_text("unknown")
    experiment = made.tracking.experiment("tiny")
    pipeline = made.tracking.pipeline(experiment, "p", {"profile": "tiny", "git.sha": "none"})
    subjects = {
        f"models:/{made.name}@nobody": "is not in the registry",
        f"models:/{made.name}/7": "is not in the registry",
        "models:/nothing/1": "is not in the registry",
        f"models:/{made.name}": "is no folder, version, run or md5",
        "models:/a'b@champion": "is no folder, version, run or md5",
        "data/tiny/stage9": "is no folder, version, run or md5",
        "' or 1=1 --": "is no folder, version, run or md5",
        uuid.uuid4().hex: "is neither a run nor an output on record",
        some_md5(): "is neither a run nor an output on record",
        pipeline: "is not that of a step",
        "other": "no run in",
        "other/file": "is a file",
    }
    for subject, reason in subjects.items():
        code, told = asked(capsys, subject)
        assert code == 2, subject
        assert told.startswith("tinygptv: ")
        assert reason in told
        assert told.count("\n") == 1


def test_a_store_that_cannot_be_read_is_one_line(made, checkout, monkeypatch, capsys):
    damaged = checkout / "damaged.db"
    damaged.write_text("this is no database" * 100)
    for uri, expected in ((f"sqlite:///{damaged}", 2), ("http://127.0.0.1:9", EXIT_PASSING)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        code, told = asked(capsys, "models:/tinygptv@champion")
        assert (code, told.count("\n")) == (expected, 1)
        assert told.startswith(f"tinygptv: MLflow at {uri}")
