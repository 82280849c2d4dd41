"""What an address of the registry means now, and that a package is what was registered."""

from __future__ import annotations

import uuid

import pytest

from tinygptv.errors import DataError, UserError
from tinygptv.tracking.registry import Lineage, add_package
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
    return name


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
    original = (tmp_path / "package" / "model.safetensors").read_text()
    mine = [path for path in stored if path.read_text() == original]
    assert len(mine) == 1
    mine[0].write_text("other weights")
    with pytest.raises(DataError, match="was changed after it was registered"):
        registry.download(found, tmp_path / "copy")
