"""The registry with small packages in a real store: versions by content, aliases, refusals, the served model."""

import getpass
import shutil
import sys
import types
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import tinygptv.tracking
from tests.tracking.pipelines import with_little_code
from tinygptv.config import Config, Gate, Register
from tinygptv.config.profiles import Profile
from tinygptv.ground import digests
from tinygptv.ground.errors import UserError
from tinygptv.ground.files import sha256_tree, write_json
from tinygptv.ground.signals import StopRequest
from tinygptv.promotion.register import register_package
from tinygptv.steps import register as step
from tinygptv.steps.harness import StepContext
from tinygptv.tracking.chain import version_of
from tinygptv.tracking.registry import version_by_alias, weights_folder
from tinygptv.tracking.version_tags import Lineage, outputs_of


def settings(name):
    gate = Gate(
        min_value={"easy_vqa": 0.9},
        margin={"easy_vqa": 0.01},
        resamples=1000,
        seed=7,
        min_agreement=0.9,
        max_bytes=1000,
        max_latency_seconds=None,
    )
    return Register(model_name=name, gate=gate)


@pytest.fixture(autouse=True)
def _little_code(monkeypatch, tmp_path):
    with_little_code(monkeypatch, tmp_path)


@pytest.fixture
def name():
    """Each test has a registered model of its own."""
    return f"tinygptv-{uuid.uuid4().hex[:8]}"


def package(folder: Path, content: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(content)
    (folder / "config.json").write_text("{}")
    return folder


def report(value: float, n: int = 100):
    entry = {"metric": "accuracy", "value": value, "n": n, "ci95": [0.9, 1.0], "majority": 0.37, "blind": None}
    return {"benchmarks": {"easy_vqa": entry}, "agreement": 0.99}


EXPERIMENT = {"dvc.exp.name": "wide-lora", "dvc.exp.baseline": "d" * 40}


def register(root, folder, name, value, run_id="", experiment=None):
    digests = {"shards": "a" * 32 + ".dir", "quantize": "b" * 32 + ".dir"}
    lineage = Lineage(
        profile="tiny",
        git_sha="c" * 40,
        digests=digests,
        quantized=report(value),
        unquantized=report(1.0),
        run_id=run_id,
        experiment=experiment or {},
    )
    profile = Profile("tiny", 7, Config.model_construct(register_=settings(name)))
    return register_package(root, folder, profile, lineage)


def test_life_of_a_model(tracking, root, name, tmp_path):
    first = register(root, package(tmp_path / "1", "one"), name, 0.95)
    assert (first.version, first.created, first.aliases) == ("1", True, ("challenger", "champion"))

    again = register(root, tmp_path / "1", name, 0.95)
    assert (again.version, again.created, again.aliases) == ("1", False, ("challenger", "champion"))
    assert version_by_alias(tracking, name, "previous") is None

    second = register(root, package(tmp_path / "2", "two"), name, 0.91)  # whose earlier steps nobody has recorded
    assert (second.version, second.aliases) == ("2", ("challenger",))
    assert not second.decision.passed
    assert version_by_alias(tracking, name, "champion") == "1"

    found = tracking.mlflow.get_model_version(name, "2")
    assert found.tags["gate.passed"] == "false"
    assert "lineage: broken at " in found.tags["gate.reasons"]
    assert found.tags["package.sha256"] == sha256_tree(tmp_path / "2")
    assert found.tags["dvc.md5"] == outputs_of(found.tags)["quantize"] == "b" * 32 + ".dir"
    assert outputs_of(found.tags)["shards"] == "a" * 32 + ".dir"
    for_people = {"profile", "git.sha", "dvc.md5", "package.sha256", "metric.easy_vqa"}
    assert found.tags.keys() == {*for_people, "gate.passed", "gate.reasons", "gate.champion", "record"}
    assert "is what `tinygptv rollback` returns to" in tracking.mlflow.get_registered_model(name).description
    assert (found.tags["git.sha"], found.tags["metric.easy_vqa"]) == ("c" * 40, "0.91")
    assert "| easy_vqa | accuracy | 0.9100 | 0.9000 … 1.0000 | 1.0000 | 100 | 0.3700 |  |" in found.description
    assert f"| quantize | `{'b' * 32}.dir` |" in found.description
    assert "- quantize: no run made this output" in found.description
    assert "Gate: refused: lineage: broken at " in found.description


def test_the_version_says_who_promoted_it_and_when_and_a_rerun_does_not_change_that(tracking, root, name, tmp_path):
    folder = package(tmp_path / "p", "one")
    register(root, folder, name, 0.95)
    tags = tracking.mlflow.get_model_version(name, "1").tags
    assert tags["promoted.by"] == getpass.getuser()
    age = datetime.now(UTC) - datetime.fromisoformat(tags["promoted.at"])
    assert timedelta(seconds=-1) < age < timedelta(minutes=5)
    tracking.mlflow.set_model_version_tag(name, "1", "promoted.at", "2026-01-01T00:00:00+00:00")
    register(root, folder, name, 0.95)
    again = tracking.mlflow.get_model_version(name, "1")
    assert again.tags["promoted.at"] == "2026-01-01T00:00:00+00:00"
    assert f"Champion: by {getpass.getuser()}, 2026-01-01 00:00:00 UTC." in again.description
    register(root, package(tmp_path / "q", "worse"), name, 0.5)
    worse = tracking.mlflow.get_model_version(name, "2")
    assert not {"promoted.by", "promoted.at"} & worse.tags.keys()
    assert "Champion: never." in worse.description


def test_a_kill_before_the_alias_moves_loses_nothing(tracking, root, name, tmp_path, monkeypatch):
    folder = package(tmp_path / "p", "one")
    move = type(tracking.mlflow).set_registered_model_alias

    def die(client, model, alias, version):
        if alias == "champion":
            raise KeyboardInterrupt
        move(client, model, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(type(tracking.mlflow), "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            register(root, folder, name, 0.95)
    assert version_by_alias(tracking, name, "champion") is None
    register(root, folder, name, 0.95)
    assert version_by_alias(tracking, name, "champion") == "1"
    assert tracking.mlflow.get_model_version(name, "1").tags["promoted.by"] == getpass.getuser()


def test_an_experiment_is_registered_and_moves_no_alias(tracking, root, name, tmp_path):
    done = register(root, package(tmp_path / "e", "tried"), name, 0.99, experiment=EXPERIMENT)
    assert (done.version, done.created, done.aliases, done.decision) == ("1", True, (), None)
    assert version_by_alias(tracking, name, "champion") is None  # also where there is no other
    found = tracking.mlflow.get_model_version(name, "1")
    assert {key: found.tags[key] for key in EXPERIMENT} == EXPERIMENT
    assert (found.tags["gate.passed"], found.tags["gate.reasons"]) == ("false", "not decided yet")
    assert "| easy_vqa | accuracy | 0.9900 " in found.description
    line = "version 1 (registered), an experiment: no alias moves; `tinygptv promote 1` asks the gate"
    assert step.report(done) == f"{name} {line}"

    register(root, package(tmp_path / "p", "plain"), name, 0.95)
    assert version_by_alias(tracking, name, "champion") == "2"
    register(root, package(tmp_path / "f", "tried again"), name, 0.99, experiment=EXPERIMENT)
    assert [version_by_alias(tracking, name, alias) for alias in ("challenger", "champion")] == ["2", "2"]


def test_what_an_experiment_made_again_stays_what_it_was(tracking, root, name, tmp_path):
    """The same content is the same version, whoever makes it: only the pipeline itself may speak for it."""
    register(root, package(tmp_path / "p", "plain"), name, 0.95)
    before = tracking.mlflow.get_model_version(name, "1")
    done = register(root, tmp_path / "p", name, 0.5, experiment=EXPERIMENT)
    assert (done.version, done.created, done.aliases) == ("1", False, ("challenger", "champion"))
    after = tracking.mlflow.get_model_version(name, "1")
    assert (after.tags, after.description) == (before.tags, before.description)

    register(root, package(tmp_path / "e", "tried"), name, 0.99, experiment=EXPERIMENT)
    register(root, tmp_path / "e", name, 0.99)  # the values are in the profile now
    assert version_by_alias(tracking, name, "challenger") == "2"
    assert tracking.mlflow.get_model_version(name, "2").tags["gate.reasons"] != "not decided yet"


def test_an_experiment_that_was_killed_while_it_registered_ends_as_if_nothing_had_happened(
    tracking, root, name, tmp_path, monkeypatch
):
    folder = package(tmp_path / "e", "tried")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            type(tracking.mlflow), "set_model_version_tag", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        register(root, folder, name, 0.99, experiment=EXPERIMENT)
    done = register(root, folder, name, 0.99, experiment=EXPERIMENT)
    assert (done.version, done.created, done.aliases) == ("1", False, ())
    found = tracking.mlflow.get_model_version(name, "1")
    assert (found.tags["profile"], found.tags["dvc.md5"]) == ("tiny", "b" * 32 + ".dir")
    assert found.description


def test_nan_never_becomes_champion(tracking, root, name, tmp_path):
    done = register(root, package(tmp_path / "p", "nan"), name, float("nan"))
    assert done.aliases == ("challenger",)
    assert register(root, package(tmp_path / "q", "good"), name, 0.95).aliases == ("challenger", "champion")


class Fake:
    """Stands in for the model, which needs torch: answers with what it was given."""

    @classmethod
    def from_folder(cls, folder, device):
        fake = cls()
        fake.content = f"{(folder / 'model.safetensors').read_text()} on {device}"
        return fake

    def picture(self, image):
        assert image.startswith(b"\x89PNG")
        return image

    def prompt(self, question):
        return question

    def ask(self, pictures, prompts):
        return [f"{self.content}: {prompt}" for prompt in prompts]


def test_registered_model_answers_and_holds_no_pickle(tracking, root, name, tmp_path, monkeypatch):
    import mlflow

    register(root, package(tmp_path / "model", "weights"), name, 0.95)
    stub = types.ModuleType("tinygptv.model.inference")
    stub.VisionLanguageModel = Fake
    monkeypatch.setitem(sys.modules, "tinygptv.model.inference", stub)
    monkeypatch.syspath_prepend(str(tmp_path))  # the loader's changes of sys.path end with the test
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    example = model.input_example
    found = model.predict(example).to_dict("records")
    assert found == [{"answer": "weights on cpu: what shape does the image contain?", "error": None}]
    with pytest.raises(mlflow.exceptions.MlflowException):
        model.predict(example.drop(columns=["question"]))
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}@champion"))
    assert [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle", ".cloudpickle"}] == []
    assert "torch==" in (folder / "requirements.txt").read_text()


RELEASED = Path(__file__).parents[1] / "drills" / "formats" / "v1" / "package"


def test_a_package_that_was_damaged_is_neither_registered_nor_loaded(tracking, root, name, tmp_path, monkeypatch):
    import mlflow

    folder = Path(shutil.copytree(RELEASED, tmp_path / "package"))
    with digests.sealed(folder):
        (folder / "README.md").write_text("its model card")
    register(root, folder, name, 0.95)
    source = f"models:/{name}@challenger"
    kept = weights_folder(source, root)

    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(tmp_path))  # the loader's changes of sys.path end with the test
    loaders = {tinygptv.load: "VisionLanguageModel", mlflow.pyfunc.load_model: "PyFuncModel"}
    for load, kind in loaders.items():
        assert type(load(source)).__name__ == kind
    for damaged in (folder, kept):
        content = bytearray((damaged / "model.safetensors").read_bytes())
        content[-1000] ^= 1
        (damaged / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors was changed"):
        register(root, folder, name, 0.95)
    for load in loaders:
        with pytest.raises(UserError, match=r"model\.safetensors was changed"):
            load(source)


def test_local_folder(tracking, root, name, tmp_path, monkeypatch):
    register(root, package(tmp_path / "model", "weights"), name, 0.95)
    monkeypatch.chdir(root)
    with tinygptv.tracking.local_folder(f"models:/{name}@champion") as folder:
        assert (folder / "model.safetensors").read_text() == "weights"
    with tinygptv.tracking.local_folder(f"models:/{name}/1") as again:
        assert again == folder
    with tinygptv.tracking.local_folder(str(tmp_path / "model")) as given:
        assert given == tmp_path / "model"
    for source in (f"models:/{name}@nobody", f"models:/{name}/7", "models:/nothing@champion", str(tmp_path / "no")):
        with pytest.raises(UserError, match="dvc repro") as caught, tinygptv.tracking.local_folder(source):
            pass
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    address = f"models:/{name}@champion"
    with pytest.raises(UserError, match=r"none\.db does not exist"), tinygptv.tracking.local_folder(address):
        pass
    assert not (tmp_path / "none.db").exists()


@pytest.fixture
def run_step(root, name, profile, step_run, tmp_path):
    """Run the step with a package whose answers are right so often."""

    def run(value: float | None):
        reports = [{"benchmarks": {}, "agreement": {"value": None, "n": 0}}] * 2
        if value is not None:
            reports = [report(value), report(0.99)]
        config = profile.config.model_copy(update={"register_": settings(name)})
        changed = type(profile)(profile.name, profile.seed, config)
        shutil.rmtree(root / "data", ignore_errors=True)
        package(root / "data/tiny/quantize/model", name)
        for name_of, content in zip(("quantize", "evaluate"), reports, strict=True):
            write_json(root / f"reports/tiny/{name_of}.json", content)
        made = step_run("register")
        staging = tmp_path / "staging"
        with made:
            step.run(
                StepContext(step="register", profile=changed, root=root, run=made, stop=StopRequest(), staging=staging)
            )
        return made

    return run


def test_the_step_of_an_experiment_moves_no_alias(tracking, name, run_step, monkeypatch, capsys):
    monkeypatch.setenv("DVC_EXP_NAME", "wide-lora")  # as DVC and the flow tell it
    run = run_step(0.99)
    assert capsys.readouterr().out.startswith(f"{name} version 1 (registered), an experiment: no alias moves; ")
    assert version_by_alias(tracking, name, "champion") is None
    tags = tracking.mlflow.get_run(run.run_id).data.tags
    assert (tags["dvc.exp.name"], tags["model.version"], tags["model.aliases"]) == ("wide-lora", f"{name}/1", "")
    assert "gate.passed" not in tags


def test_step(tracking, name, run_step, capsys):
    run = run_step(0.5)
    told = capsys.readouterr().out
    assert told == f"{name} version 1 (registered), challenger; not made champion: easy_vqa: 0.5000 is below 0.9000\n"
    found = tracking.mlflow.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["model.version"] == f"{name}/1"
    assert found.data.metrics["easy_vqa"] == 0.5
    version = tracking.mlflow.get_model_version(name, "1")
    assert version.run_id == run.run_id
    assert f"| register |  | `{found.data.tags['git.sha'][:12]}` dirty |" in version.description
    assert f"| `{run.run_id}` |" in version.description
    assert f"Environment `{found.data.tags['environment.sha256'][:12]}`: python" in version.description
    assert "did not finish" not in version.description  # it had not, when the description was written


def test_a_model_of_which_nothing_is_measured_is_registered_and_no_champion(tracking, name, run_step, capsys):
    """Such as one of data that no benchmark asks; that it has no figures is no gap in its lineage."""
    run_step(None)
    told = capsys.readouterr().out
    assert told.startswith(f"{name} version 1 (registered), challenger; not made champion: easy_vqa: the benchmark is ")
    version = version_of(tracking.mlflow.get_model_version(name, "1"))
    assert (version.metrics, [problem for problem in version.problems if "metric" in problem]) == ({}, [])


def test_missing_package_is_named(root, name, tmp_path):
    with pytest.raises(UserError, match="run `dvc repro quantize`"):
        register(root, tmp_path / "none", name, 0.9)


def test_registry_out_of_reach_is_named(root, name, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="start its server, or set MLFLOW_TRACKING_URI") as caught:
        register(root, package(tmp_path / "p", "x"), name, 0.9)
    assert "\n" not in str(caught.value)
