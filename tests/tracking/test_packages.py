"""Packages of the registry: used where they lie, or copied where there is room, or the true cause why not."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import tempfile
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

import tinygptv
from tests.limits import without_override
from tests.tracking.artifact_server import artifact_server
from tests.tracking.pipelines import with_little_code
from tinygptv.ground import files
from tinygptv.ground.errors import EXIT_USER_ERROR, DataError, NoSpaceError, PassingError, RefusedError, UserError
from tinygptv.model.inference import VisionLanguageModel
from tinygptv.serving.models import Models
from tinygptv.tracking.client import reachable
from tinygptv.tracking.packages import opened_package
from tinygptv.tracking.registry import add_package
from tinygptv.tracking.version_tags import Lineage

LINEAGE = Lineage(profile="tiny", git_sha="c" * 40, digests={}, quantized={}, unquantized={}, run_id="")
WEIGHTS = "weights" * 1000


@pytest.fixture
def name(tracking, root, tmp_path, monkeypatch):
    """A registered model with one version, in the store of this disk."""
    with_little_code(monkeypatch, tmp_path)
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.safetensors").write_text(f"{WEIGHTS}{uuid.uuid4().hex}")
    name = f"tinygptv-{uuid.uuid4().hex[:8]}"
    add_package(tracking, name, folder, LINEAGE)
    monkeypatch.chdir(root)
    return name


@pytest.fixture
def model(name):
    """The folder of the version's files."""
    with opened_package(f"models:/{name}/1") as folder:
        return next(parent for parent in folder.parents if (parent / "MLmodel").is_file())


@pytest.fixture
def far(tracking, name, model):
    """The same files as version 2, on a server; gives the server."""
    with artifact_server(model) as server:
        tracking.mlflow.create_model_version(name, server.url)
        yield server


@pytest.fixture
def opened(monkeypatch):
    """The folders that were opened as models, with their weights."""
    seen = []

    def from_folder(folder, device="cpu"):
        seen.append((Path(folder), (Path(folder) / "model.safetensors").read_text()))
        return seen

    monkeypatch.setattr(VisionLanguageModel, "from_folder", from_folder)
    return seen


@contextmanager
def told(*words: str, kind: type[UserError] = RefusedError):
    """One line with the words, and without the advice that makes what is there already."""
    with pytest.raises(UserError) as caught:
        yield
    assert type(caught.value) is kind, caught.value
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert "dvc repro" not in message and "start its server" not in message, message


def test_a_package_of_this_disk_is_used_where_it_lies(name, model, temporary, opened):
    before = {path: path.stat().st_mtime_ns for path in model.rglob("*")}
    tinygptv.load(f"models:/{name}@challenger")
    assert opened[0][0].is_relative_to(model)
    assert {path: path.stat().st_mtime_ns for path in model.rglob("*")} == before
    assert not list(temporary.iterdir())


def test_a_copy_from_a_server_goes_when_the_model_is_loaded(name, far, temporary, opened):
    tinygptv.load(f"models:/{name}/2")
    folder, weights = opened[0]
    assert weights.startswith(WEIGHTS)
    assert folder.is_relative_to(temporary)
    assert not list(temporary.iterdir())


def test_a_copy_goes_too_where_the_model_cannot_be_opened(name, far, temporary, monkeypatch):
    def broken(folder, device="cpu"):
        raise DataError("not a model")

    monkeypatch.setattr(VisionLanguageModel, "from_folder", broken)
    with pytest.raises(DataError, match="not a model"):
        tinygptv.load(f"models:/{name}/2")
    assert not list(temporary.iterdir())


def test_the_room_is_asked_for_where_the_copy_will_lie_before_a_byte_moves(name, far, temporary, monkeypatch, opened):
    asked = []

    def free(folder):
        asked.append(Path(folder))
        return 5000

    monkeypatch.setattr(files, "free_bytes", free)
    with told(f"copying models:/{name}/2", "no space left on the disk of", "bytes are needed", str(temporary)):
        tinygptv.load(f"models:/{name}/2")
    assert asked[0].is_relative_to(temporary)
    assert far.bytes == 0
    assert not list(temporary.iterdir())
    assert opened == []


@pytest.mark.parametrize("fault", [503, 429, "cut"])
def test_a_server_that_fails_in_the_middle(name, far, temporary, opened, fault):
    far.fault = fault
    with pytest.raises(PassingError) as caught:
        tinygptv.load(f"models:/{name}/2")
    assert "dvc repro" not in str(caught.value)
    assert not list(temporary.iterdir())
    far.fault = None
    tinygptv.load(f"models:/{name}/2")


def test_a_server_that_is_gone(name, far, temporary, opened):
    far.close()
    with pytest.raises(PassingError, match="refused"):
        tinygptv.load(f"models:/{name}/2")


@pytest.mark.parametrize("fault", [401, 403])
def test_a_server_that_refuses(name, far, temporary, opened, fault):
    far.fault = fault
    with pytest.raises(UserError) as caught:
        tinygptv.load(f"models:/{name}/2")
    assert caught.value.exit_code == EXIT_USER_ERROR
    assert "MLFLOW_TRACKING_USERNAME" in str(caught.value)


def test_a_temporary_folder_that_must_not_be_written(name, far, temporary, opened):
    temporary.chmod(0o555)
    with without_override(), told("no permission to write", str(temporary)):
        tinygptv.load(f"models:/{name}/2")


def test_serve_says_why_it_cannot_copy(name, temporary, opened):
    temporary.chmod(0o555)
    with without_override(), told("no permission to write", str(temporary)):
        Models([f"models:/{name}/1"]).load()


def test_serve_removes_its_copies_and_takes_files_that_fail_for_what_they_are(name, model, temporary, opened):
    Models([f"models:/{name}/1"], load=lambda folder, device: Stub(folder)).load()
    assert not list(temporary.iterdir())
    weights = next(model.rglob("model.safetensors"))
    weights.chmod(0)
    with without_override(), told("no permission to read", str(weights)):
        Models([f"models:/{name}/1"]).load()
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("number", "words", "kind"),
    [
        (errno.ENOSPC, "no space left on the disk of", RefusedError),
        (errno.EDQUOT, "no space left on the disk of", RefusedError),
        (errno.EROFS, "no permission to write", RefusedError),
        (errno.EMFILE, "ulimit -n", RefusedError),
        (errno.EIO, "Input/output error", PassingError),
        (errno.ESTALE, "Stale file handle", PassingError),
    ],
)
def test_whatever_the_system_says_in_the_middle_of_a_copy(name, temporary, opened, monkeypatch, number, words, kind):
    """MLflow copies in threads, and hands on no more than the words of what they met."""

    def fail(source, target):
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr("mlflow.store.artifact.local_artifact_repo.shutil.copy2", fail)
    with told(words, kind=kind):
        Models([f"models:/{name}/1"]).load()
    assert not list(temporary.iterdir())


class Stub:
    """As much of a model as serving looks at."""

    positions, max_new_tokens = 100, 10

    def __init__(self, folder):
        assert (folder / "model.safetensors").is_file()
        self.processor = type("P", (), {"image_processor": type("I", (), {"size": {"height": 4, "width": 4}})})
        self.processor.image_processor.resample = 3
        self.image_processor = self.processor.image_processor

    def eval(self):
        return self

    def chorus(self):
        return None  # nothing is asked


def test_too_many_open_files(name, temporary, opened):
    """However far it gets, it says what is missing; the first failures are SQLite's, which hides the reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    messages = []
    for more in range(12):
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
        try:
            Models([f"models:/{name}/1"], load=lambda folder, device: Stub(folder)).load()
        except UserError as error:
            messages.append(str(error))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert messages
    assert [message for message in messages if "ulimit -n" not in message] == []


@pytest.mark.parametrize("mode", [0, 0o444])
def test_a_database_that_must_not_be_read_or_written(name, root, temporary, tmp_path, monkeypatch, mode):
    database = tmp_path / "closed.db"
    shutil.copy(root / "mlflow.db", database)
    database.chmod(mode)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    with without_override():
        if mode:
            with reachable(root) as tracking:
                assert tracking.mlflow.get_model_version(name, "1").name == name
            with told(f"no permission to write {database}"), reachable(root) as tracking:
                tracking.mlflow.create_experiment("new")
        else:
            with told(f"no permission to read {database}"), reachable(root):
                pass
            with told(f"no permission to read {database}"), opened_package(f"models:/{name}/1"):
                pass
            with told(f"no permission to read {database}"):
                Models([f"models:/{name}/1"]).load()


def test_files_that_are_gone_from_the_store(name, model, temporary):
    (model / "MLmodel").unlink()
    with pytest.raises(DataError, match="holds no 8-bit package"), opened_package(f"models:/{name}/1"):
        pass


def test_registering_asks_for_room_first_and_mlflow_s_own_copy_lies_in_ours(
    tracking, name, temporary, tmp_path, monkeypatch
):
    import mlflow.pyfunc.model as writer

    places = []

    class Watched(writer.TempDir):
        def __enter__(self):
            places.append(Path(super().__enter__().path()))
            return self

    monkeypatch.setattr(writer, "TempDir", Watched)
    (tmp_path / "package" / "config.json").write_text("{}")  # other content: another version
    experiment = tracking.experiment("tiny")
    before = len(tracking.mlflow.search_logged_models([experiment]))
    with monkeypatch.context() as full:
        full.setattr(files, "free_bytes", lambda folder: 10)
        with pytest.raises(NoSpaceError):
            add_package(tracking, name, tmp_path / "package", LINEAGE)
    assert len(tracking.mlflow.search_logged_models([experiment])) == before
    assert add_package(tracking, name, tmp_path / "package", LINEAGE) == ("2", True)
    assert places and all(place.relative_to(temporary).parts[0].startswith("tinygptv-") for place in places)
    assert not list(temporary.iterdir())
    assert tempfile.tempdir == str(temporary)
