"""Data and models in a bucket of a real S3 server: fetched with DVC's settings, and every refusal in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import s3
from tests.services.test_remotes import Checkout
from tinygptv.ground import digests
from tinygptv.ground.errors import DataError, PassingError, UserError
from tinygptv.remotes import fetch as fetching
from tinygptv.remotes.dvc_store import DvcStore
from tinygptv.remotes.fetch import fetch
from tinygptv.remotes.push import push, target_of

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3Server]:
    with s3.serve(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path, server: s3.S3Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose remote ``store`` lies in a folder of the bucket; nobody is logged in."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "DVC_", "BOTO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "checkout"
    (root / ".dvc").mkdir(parents=True)
    (root / "dvc.yaml").touch()
    lines = ["['remote \"store\"']", f"    url = s3://{s3.BUCKET}/{tmp_path.name}", f"    endpointurl = {server.url}"]
    (root / ".dvc" / "config").write_text("\n".join([*lines, ""]))
    return root


def log_in(root: Path, secret: str = s3.SECRET_KEY) -> None:
    lines = ["['remote \"store\"']", f"    access_key_id = {s3.ACCESS_KEY}", f"    secret_access_key = {secret}", ""]
    (root / ".dvc" / "config.local").write_text("\n".join(lines))


@pytest.fixture
def bucket(server: s3.S3Server, tmp_path: Path) -> str:
    """The folder of the remote, with some files; logged in is nobody."""
    folder = f"{s3.BUCKET}/{tmp_path.name}"
    files = server.files()
    files.pipe_file(f"{folder}/cats.json", b"[]")
    files.pipe_file(f"{folder}/pictures2/x.png", b"x")
    for number in range(3):
        files.pipe_file(f"{folder}/pictures/a b/{number}.png", bytes([number]) * 100)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(name: str, root: Path, *words: str, error: type[UserError] = DataError) -> None:
    with pytest.raises(error) as caught:
        fetch(name, root)
    said = str(caught.value)
    assert said.startswith(name) and "\n" not in said
    for word in words:
        assert word in said, said
    for secret in (s3.SECRET_KEY, "a-wrong-secret"):
        assert secret not in said


def test_a_folder_of_a_bucket_and_a_file_of_a_remote(root, server, bucket, monkeypatch):
    log_in(root)
    place = fetch(f"s3://{bucket}/pictures", root)
    assert names(place) == ["a b/0.png", "a b/1.png", "a b/2.png"]
    assert (place / "a b" / "2.png").read_bytes() == b"\2" * 100
    assert fetch("remote://store/cats.json", root).read_bytes() == b"[]"

    read = []
    monkeypatch.setattr(DvcStore, "read", lambda self, path, start, stop: read.append(path) or b"other")
    fetch(f"s3://{bucket}/pictures", root)
    assert read == []
    server.files().pipe_file(f"{bucket}/pictures/a b/1.png", b"other")
    server.files().rm_file(f"{bucket}/pictures/a b/2.png")
    fetch(f"s3://{bucket}/pictures", root)
    assert [path.rpartition("/")[2] for path in read] == ["1.png"]
    assert names(place) == ["a b/0.png", "a b/1.png"]


def test_credentials_of_the_environment(root, server, bucket, monkeypatch):
    (root / ".dvc" / "config").write_text("")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    refused(f"s3://{bucket}/cats.json", root, "no credentials", "docs/remotes.md")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET_KEY)
    assert fetch(f"s3://{bucket}/cats.json", root).read_bytes() == b"[]"


def test_what_is_wrong_is_one_line(root, server, bucket):
    refused(f"s3://{bucket}/cats.json", root, "no credentials", "docs/remotes.md")
    log_in(root, "a-wrong-secret")
    refused("remote://store/cats.json", root, "refused", "check the credentials")
    log_in(root)
    refused(f"s3://{bucket}/none.json", root, "nothing is there; check its name")
    refused(f"s3://{bucket}/picture", root, "nothing is there; check its name")
    (root / ".dvc" / "config").write_text((root / ".dvc" / "config").read_text().replace(s3.BUCKET, "nobucket"))
    refused("remote://store/cats.json", root, "there is no bucket", "check its name")


def test_a_server_that_is_gone(root, bucket):
    log_in(root)
    config = root / ".dvc" / "config"
    lines = [
        line if "endpointurl" not in line else "    endpointurl = http://127.0.0.1:9"
        for line in config.read_text().splitlines()
    ]
    config.write_text("\n".join([*lines, ""]))
    refused(f"s3://{bucket}/cats.json", root, "cannot be reached", "try again later", error=PassingError)


def test_a_large_object_goes_on_and_is_verified(root, server, bucket, monkeypatch):
    log_in(root)
    content = os.urandom(300_000)
    server.files().pipe_file(f"{bucket}/large", content)
    monkeypatch.setattr(fetching, "PIECE", 100_000)
    read = DvcStore.read

    def breaks(self, path, start, stop):
        if start == 200_000:
            raise PassingError("the line is down")
        return read(self, path, start, stop)

    monkeypatch.setattr(DvcStore, "read", breaks)
    with pytest.raises(PassingError, match="the line is down"):
        fetch("remote://store/large", root)
    monkeypatch.setattr(DvcStore, "read", lambda self, path, start, stop: read(self, path, start, stop)[::-1])
    with pytest.raises(PassingError, match="has not the md5 that is announced"):
        fetch("remote://store/large", root)
    monkeypatch.setattr(DvcStore, "read", read)
    assert fetch("remote://store/large", root).read_bytes() == content


def test_a_model_goes_to_a_bucket_once_and_comes_back_by_dvc(root, server, tmp_path):
    log_in(root)
    package = tmp_path / "package"
    package.mkdir()
    with digests.sealed(package):
        (package / "model.safetensors").write_bytes(os.urandom(200_000))
        (package / "README.md").write_text("# a model")
    target = target_of("remote://store/models/cats")
    assert "`dvc get-url remote://store/models/cats FOLDER` gets it" in push(package, target, root, replace=False)
    stored = server.files().ls(f"{s3.BUCKET}/{tmp_path.name}/models/cats", detail=True)
    assert push(package, target, root, replace=False).startswith("remote://store/models/cats has it already")
    assert server.files().ls(f"{s3.BUCKET}/{tmp_path.name}/models/cats", detail=True) == stored
    pushed = {name: (package / name).read_bytes() for name in names(package)}
    back = fetch("remote://store/models/cats", root)
    assert {name: (back / name).read_bytes() for name in names(back)} == pushed
    digests.check(back)

    first = Checkout(root)
    first.git("init", "-q", "-b", "main")
    (root / ".gitignore").write_text("/.state/\n/model\n/.dvc/config.local\n/.dvc/tmp\n/.dvc/cache\n")
    first.ok("remote", "default", "store")
    first.ok("import-url", "remote://store/models/cats", "model")
    first.ok("push")
    first.git("add", "-A")
    first.git("commit", "-q", "-m", "model")
    second = first.clone("second")
    log_in(second.root)
    second.ok("pull")
    assert {name: (second.root / "model" / name).read_bytes() for name in names(second.root / "model")} == pushed
    digests.check(second.root / "model")

    with digests.sealed(package):
        (package / "model.safetensors").write_bytes(os.urandom(200_000))
    with pytest.raises(DataError, match="another model is at remote://store/models/cats; add --replace"):
        push(package, target, root, replace=False)
    push(package, target, root, replace=True)
    assert (fetch("remote://store/models/cats", root) / "model.safetensors").read_bytes() == (
        package / "model.safetensors"
    ).read_bytes()


def test_a_push_without_credentials_writes_nothing(root, server, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    with digests.sealed(package):
        (package / "config.json").write_text("{}")
    with pytest.raises(DataError, match="no credentials"):
        push(package, target_of(f"s3://{s3.BUCKET}/{tmp_path.name}/models/cats"), root, replace=False)
    assert not server.files().exists(f"{s3.BUCKET}/{tmp_path.name}/models")
