"""What an address of the registry means now, and that a package is what was registered."""

from __future__ import annotations

import uuid
from dataclasses import asdict

import pytest

from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.files import canonical
from tinygptv.promotion import record
from tinygptv.promotion.aliases import Move, make_champion
from tinygptv.promotion.decide import Decision, not_measured
from tinygptv.promotion.rollback import rollback
from tinygptv.tracking.registry import add_package, version_by_alias
from tinygptv.tracking.version_tags import Lineage
from tinygptv.tracking.versions import Registry

LINEAGE = Lineage(profile="tiny", git_sha="c" * 40, digests={}, quantized={}, unquantized={}, run_id="")


@pytest.fixture
def name(tracking, tmp_path):
    """A registered model with one version, whose package can be damaged."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.safetensors").write_text(uuid.uuid4().hex)
    name = f"tinygptv-{uuid.uuid4().hex[:8]}"
    add_package(tracking, name, folder, LINEAGE)
    decide(tracking, name, "1")
    return name


def decide(tracking, name, version, *reasons):
    """As the gate does; it passes without reasons."""
    tracking.mlflow.set_model_version_tag(name, version, "gate.passed", "false" if reasons else "true")
    tracking.mlflow.set_model_version_tag(name, version, "gate.reasons", "; ".join(reasons) or "none")


def test_an_alias_means_a_version_and_a_copy_of_its_package(tracking, root, name, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    registry = Registry()
    found = registry.find(f"models:/{name}@challenger")
    assert found == registry.find(f"models:/{name}/1")
    assert found.address == f"models:/{name}/1"
    copied = registry.download(found, tmp_path / "copy")
    assert copied.is_relative_to(tmp_path / "copy")
    assert (copied / "model.safetensors").read_text() == (tmp_path / "package" / "model.safetensors").read_text()
    for missing in (f"models:/{name}@nobody", f"models:/{name}/7", f"models:/{name}", "models:/nothing@champion"):
        with pytest.raises(UserError) as caught:
            registry.find(missing)
        assert "\n" not in str(caught.value)


def test_a_package_that_was_changed_is_refused(tracking, root, name, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    registry = Registry()
    found = registry.find(f"models:/{name}/1")
    stored = [path for path in (root / "mlartifacts").rglob("model.safetensors") if name not in str(path)]
    original = (tmp_path / "package" / "model.safetensors").read_bytes()
    mine = [path for path in stored if path.read_bytes() == original]
    assert len(mine) == 1
    mine[0].write_text("other weights")
    with pytest.raises(DataError, match="was changed after it was registered"):
        registry.download(found, tmp_path / "copy")


@pytest.fixture
def two(tracking, root, name, tmp_path, monkeypatch):
    """A second version, and who moves ``champion`` between them."""
    monkeypatch.chdir(root)
    (tmp_path / "package" / "model.safetensors").write_text(uuid.uuid4().hex)
    add_package(tracking, name, tmp_path / "package", LINEAGE)
    decide(tracking, name, "2")
    make_champion(tracking, name, "1", None)
    return Registry(), f"models:/{name}@champion"


def test_only_a_champion_that_was_promoted_is_followed(tracking, root, name, two):
    registry, champion = two
    assert registry.find(champion).address == f"models:/{name}/1"
    tracking.mlflow.set_registered_model_alias(name, "champion", "2")  # by whoever gets to write there
    with pytest.raises(DataError, match=rf"models:/{name}/2 is champion, but .*name version 1 again.*{name}\.json"):
        registry.find(champion)
    with pytest.raises(DataError):  # nor by a service that is started now
        Registry().find(champion)
    tracking.mlflow.set_registered_model_alias(name, "champion", "1")
    make_champion(tracking, name, "2", "1")
    assert registry.find(champion).address == f"models:/{name}/2"
    tracking.mlflow.set_registered_model_alias(name, "previous", "1")
    assert rollback(root, name).champion == "1"
    assert registry.find(champion).address == f"models:/{name}/1"
    tracking.mlflow.set_registered_model_alias(name, "champion", "2")  # which was rolled back
    with pytest.raises(DataError):
        registry.find(champion)
    kept = root / ".state" / "promoted" / f"{name}.json"
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_a_promoted_version_holds_stays_so(tracking, name, two):
    registry, champion = two
    found = registry.find(champion)
    tracking.mlflow.set_model_version_tag(name, "1", "package.sha256", "0" * 64)
    for asked in (registry, Registry()):
        with pytest.raises(DataError):
            asked.find(champion)
    tracking.mlflow.set_model_version_tag(name, "1", "package.sha256", found.digest)
    assert registry.find(champion) == found
    number = registry.find(f"models:/{name}@challenger")
    tracking.mlflow.set_model_version_tag(name, "2", "package.sha256", "0" * 64)
    with pytest.raises(DataError, match="was changed since it was first looked at"):
        registry.find(f"models:/{name}@challenger")
    assert number.address == f"models:/{name}/2"


def test_a_registry_without_a_record_keeps_what_was_there(tracking, root, name, two):
    registry, champion = two
    (root / ".state" / "promoted" / f"{name}.json").unlink()  # as after an upgrade
    assert registry.find(champion).address == f"models:/{name}/1"
    tracking.mlflow.set_registered_model_alias(name, "champion", "2")
    with pytest.raises(DataError, match="name version 1 again"):
        registry.find(champion)
    assert Registry().find(champion).address == f"models:/{name}/2"


def test_a_move_that_somebody_wrote_into_the_registry_is_not_finished(tracking, root, name, two):
    move = Move(champion="2", previous=None, former="1", before=None, back=False)
    tracking.mlflow.set_registered_model_tag(name, "aliases.move.9999999999999", canonical(asdict(move)))
    with pytest.raises(UserError, match="has no previous champion"):
        rollback(root, name)
    assert version_by_alias(tracking, name, "champion") == "1"


def test_an_alias_names_only_what_the_gate_let_through(tracking, name, two):
    registry, champion = two
    decide(tracking, name, "1", "easy_vqa: 0.1000 is below 0.9900")
    told = (
        rf"{champion} names models:/{name}/1, whose gate did not pass \(easy_vqa: 0.1000 is below 0.9900\); .*--ungated"
    )
    for asked in (registry, Registry()):
        with pytest.raises(UserError, match=told) as refused:
            asked.find(champion)
        assert not isinstance(refused.value, DataError) and "\n" not in str(refused.value)
    assert registry.find(f"models:/{name}@challenger").address == f"models:/{name}/2"
    assert registry.find(f"models:/{name}/1").address == f"models:/{name}/1"  # somebody asked for this very version
    assert Registry(ungated=True).find(champion).address == f"models:/{name}/1"
    tracking.mlflow.delete_model_version_tag(name, "1", "gate.passed")
    tracking.mlflow.delete_model_version_tag(name, "1", "gate.reasons")
    with pytest.raises(UserError, match="registered by hand"):
        registry.find(champion)
    decide(tracking, name, "1")
    assert registry.find(champion).address == f"models:/{name}/1"


def test_a_version_that_waits_for_its_decision_is_not_served(tracking, name, two, tmp_path):
    registry, _ = two
    (tmp_path / "package" / "model.safetensors").write_text(uuid.uuid4().hex)
    add_package(tracking, name, tmp_path / "package", LINEAGE)
    with pytest.raises(UserError, match=r"whose gate did not pass \(not decided yet\)"):
        registry.find(f"models:/{name}@challenger")


def test_what_a_rollback_brings_back_is_served_until_it_is_decided_about(tracking, root, name, two):
    """While the second version was champion, the first one was refused: it was no better."""
    registry, champion = two
    make_champion(tracking, name, "2", "1")
    refused = Decision((not_measured("easy_vqa", "worse"),))
    record.store(tracking, name, "1", refused, {})
    assert rollback(root, name).champion == "1"
    assert registry.find(champion).address == f"models:/{name}/1"
    record.store(tracking, name, "1", refused, {})
    with pytest.raises(UserError, match=r"whose gate did not pass \(easy_vqa: worse\)"):
        registry.find(champion)
