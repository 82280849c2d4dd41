"""A model is put where others get it: once, whole, with its card, and never over another one by accident."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinygptv
from tests.serving.helpers import QUESTIONS, strong_model
from tinygptv.cli import main
from tinygptv.config import DataSet
from tinygptv.evaluation.package_card import model_card
from tinygptv.ground import digests
from tinygptv.ground.errors import DataError, PassingError, UserError
from tinygptv.remotes.dvc_store import DvcStore
from tinygptv.remotes.fetch import fetch
from tinygptv.remotes.push import push, target_of

REPORT = {"benchmarks": {}, "agreement": {"value": 1.0, "n": 1}, "seed": 1}
HUB, REMOTE = "hf://me/cats", "remote://store/models/cats"


def card_of(licence: str) -> str:
    return model_card("cats", REPORT, {}, {"cats": DataSet(format="llava", licence=licence)})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Not a model, but files of one."""
    folder = tmp_path / "package"
    folder.mkdir()
    with digests.sealed(folder):
        (folder / "model.safetensors").write_bytes(b"w" * 5000)
        (folder / "config.json").write_text("{}")
        (folder / "README.md").write_text(card_of("MIT"))
    return folder


def other(package: Path) -> Path:
    """Another model, with one file less and one more."""
    with digests.sealed(package):
        (package / "model.safetensors").write_bytes(b"v" * 5000)
        (package / "config.json").unlink()
        (package / "new.json").write_text("{}")
    return package


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(target: str, hub, tmp_path) -> dict[str, bytes]:
    if target == REMOTE:
        return contents(tmp_path / "store" / "models" / "cats")
    return {name: content for name, content in hub.files.get("me/cats", {}).items() if name != ".gitattributes"}


@pytest.mark.parametrize("target", [HUB, REMOTE])
def test_all_files_are_there_once_and_another_model_is_not_overwritten(checkout, hub, package, tmp_path, target):
    address = target_of(target)
    push(package, address, checkout, replace=False)
    pushed = contents(package)
    assert there(target, hub, tmp_path) == pushed
    before = [request for request in hub.requests if request[0] != "GET"]
    hub.requests.clear()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    assert push(package, address, checkout, replace=False).startswith(f"{target} has it already")
    assert {method for method, route, _ in hub.requests if not route.endswith("/repos/create")} <= {"GET"}
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    assert bool(before) == (target == HUB)

    with pytest.raises(DataError, match=f"^another model is at {target}; add --replace"):
        push(other(package), address, checkout, replace=False)
    assert there(target, hub, tmp_path) == pushed
    push(package, address, checkout, replace=True)
    assert there(target, hub, tmp_path) == contents(package) != pushed


def test_a_new_repository_is_private_and_the_address_names_the_commit(checkout, hub, package):
    said = push(package, target_of(HUB), None, replace=False)
    assert hub.private == {"me/cats": True}
    assert said == f'4 files are at hf://me/cats (private): tinygptv.load("hf://me/cats@{hub.head("me/cats")}")'


def test_a_push_to_a_remote_that_broke_off_goes_on(checkout, package, tmp_path, monkeypatch):
    put = DvcStore.put

    def breaks(self, path, name):
        if name.endswith("model.safetensors"):
            raise PassingError("the line is down")
        put(self, path, name)

    monkeypatch.setattr(DvcStore, "put", breaks)
    with pytest.raises(PassingError):
        push(package, target_of(REMOTE), checkout, replace=False)
    half = tmp_path / "store" / "models" / "cats"
    assert half.is_dir() and not (half / digests.LIST).exists()
    monkeypatch.setattr(DvcStore, "put", put)
    push(package, target_of(REMOTE), checkout, replace=False)
    assert contents(half) == contents(package)


def test_a_replacement_that_broke_off_is_no_model(checkout, package, tmp_path, monkeypatch):
    push(package, target_of(REMOTE), checkout, replace=False)
    monkeypatch.setattr(DvcStore, "put", lambda *_: (_ for _ in ()).throw(PassingError("the line is down")))
    with pytest.raises(PassingError):
        push(other(package), target_of(REMOTE), checkout, replace=True)
    assert not (tmp_path / "store/models/cats" / digests.LIST).exists()


def test_a_refusal_of_the_hub_is_one_line(checkout, hub, package, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for status, error in ((401, DataError), (403, DataError), (503, PassingError)):
        hub.faults = [status] * 9
        with pytest.raises(error) as caught:
            push(package, target_of(HUB), None, replace=False)
        assert str(caught.value).startswith("hf://me/cats: ") and "\n" not in str(caught.value)
        assert "hf_secret" not in str(caught.value)
    assert hub.files == {}


def test_a_damaged_folder_is_not_pushed(checkout, hub, package):
    (package / "model.safetensors").write_bytes(b"x" * 5000)
    with pytest.raises(DataError, match="is not what was written there"):
        push(package, target_of(HUB), None, replace=False)
    (package / digests.LIST).unlink()
    with pytest.raises(DataError, match=r"has no digests\.json"):
        push(package, target_of(HUB), None, replace=False)
    assert hub.requests == []


@pytest.mark.parametrize(
    "address",
    ["hf://datasets/me/cats", "hf://me", f"hf://me/cats@{'a' * 40}", "remote://store", "cats", "gs://b/x", ""],
)
def test_a_place_that_is_none(address):
    with pytest.raises(UserError, match=r"^--push .*: a place for a model is hf://OWNER/NAME, remote://REMOTE/PATH"):
        target_of(address)


@pytest.fixture
def model(tmp_path, make_model, processor):
    """A small model as ``quantize`` leaves one, and its answers."""
    ready = strong_model(make_model(), processor, seed=3)
    folder = tmp_path / "model"
    ready.model.save_pretrained(folder)
    processor.save_pretrained(folder)
    with digests.sealed(folder):
        (folder / "README.md").write_text(card_of("CC0-1.0"))
    return folder


def asked(source: str) -> list[str]:
    from PIL import Image

    picture = Image.linear_gradient("L").convert("RGB")
    return list(tinygptv.load(source).answer([picture] * 2, list(QUESTIONS[:2])))


def test_another_person_gets_the_same_answers(checkout, hub, model, capsys, monkeypatch):
    monkeypatch.chdir(checkout)
    answers = asked(str(model))
    assert len(set(answers)) > 1
    assert main(["export-checkpoint", str(model), "--push", HUB]) == 0
    address = capsys.readouterr().out.partition('"')[2].partition('"')[0]
    assert asked(address) == answers
    hub.requests.clear()
    assert tinygptv.load(address) is not None
    assert hub.requests == []  # a commit that is here needs no hub
    assert main(["export-checkpoint", str(model), "--push", REMOTE]) == 0
    back = fetch(REMOTE, checkout)
    assert contents(back) == contents(model)
    assert asked(str(back)) == answers


def test_a_model_whose_data_have_no_licence_is_not_given_away(checkout, hub, model, capsys):
    with digests.sealed(model):
        (model / "README.md").write_text(card_of("unknown"))
    assert main(["export-checkpoint", str(model), "--push", HUB]) == 2
    assert "the licence of cats is unknown; say it in the profile, as data.cats.licence" in capsys.readouterr().err
    with digests.sealed(model):
        (model / "README.md").write_text("# mine\n")
    assert main(["export-checkpoint", str(model), "--push", HUB]) == 2
    assert "has no model card that names its data" in capsys.readouterr().err
    assert hub.requests == []


def test_an_address_of_a_hub_that_names_no_commit_is_refused():
    for source in ("hf://me/cats", "hf://me/cats@main", "hf://datasets/me/cats", "s3://bucket/cats"):
        with pytest.raises(UserError, match="with the 40 digits of a commit"):
            tinygptv.load(source)
