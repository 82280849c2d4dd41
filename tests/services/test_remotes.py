"""DVC remotes, a folder and a real S3 server: what one clone pushes another pulls, and damage is found on the way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services import s3
from tinygptv.ground.yaml_files import read_yaml

DVC_YAML = """\
stages:
  numbers:
    cmd: mkdir -p data/numbers && seq 100 > data/numbers/all && seq 3 > data/numbers/few
    outs: [data/numbers]
  sorted:
    cmd: mkdir -p data/sorted && sort data/numbers/all > data/sorted/all
    deps: [data/numbers]
    outs: [data/sorted]
  register:
    cmd: test -s data/sorted/all
    deps: [data/sorted]
"""
FOREIGN = ("AWS_", "DVC_", "BOTO_")


@dataclass(frozen=True)
class Checkout:
    """A clone with DVC; nothing of the user's own configuration reaches it."""

    root: Path

    def dvc(self, *arguments: str) -> tuple[int, str]:
        """Exit code and all that DVC printed."""
        private = self.root.parent / "private"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        own = {name: str(private / name) for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "HOME")}
        own |= {"DVC_NO_ANALYTICS": "1", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env=kept | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout

    def ok(self, *arguments: str) -> str:
        code, said = self.dvc(*arguments)
        assert code == 0, said
        return said

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout

    def clone(self, name: str) -> Checkout:
        root = self.root.parent / name
        subprocess.run(["git", "clone", "-q", self.root, root], check=True)
        return Checkout(root)

    def outputs(self) -> dict[str, bytes]:
        folder = self.root / "data"
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def object_of(self, name: str) -> str:
        """Place of the object of an output's file, the same in a cache and in a remote."""
        content = (self.root / "data" / name).read_bytes()
        caches = [path for path in (self.root / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
        (found,) = [path for path in caches if path.read_bytes() == content]
        return found.relative_to(self.root / ".dvc" / "cache").as_posix()

    def folder_object(self, step: str) -> str:
        """Place of the object that lists an output's files."""
        (out,) = read_yaml(self.root / "dvc.lock")["stages"][step]["outs"]
        return f"files/md5/{out['md5'][:2]}/{out['md5'][2:]}"


class Remote(ABC):
    """A remote, and a back door to what it stores."""

    @abstractmethod
    def add(self, checkout: Checkout) -> None:
        """What a project does once and commits."""

    @abstractmethod
    def log_in(self, checkout: Checkout) -> None:
        """What each user does in each clone."""

    @abstractmethod
    def objects(self) -> set[str]: ...

    @abstractmethod
    def damage(self, name: str) -> None:
        """Flip a bit."""

    @abstractmethod
    def remove(self, name: str) -> None: ...


@dataclass
class Folder(Remote):
    path: Path

    def add(self, checkout: Checkout) -> None:
        """What ``dvc remote`` would write, without its seconds; the bucket has the commands themselves."""
        lines = ["[core]", "remote = store", "['remote \"store\"']", f"url = {self.path}", "verify = true"]
        (checkout.root / ".dvc" / "config").write_text("\n".join([*lines, ""]))

    def log_in(self, checkout: Checkout) -> None:
        """A folder asks for nothing."""

    def objects(self) -> set[str]:
        return {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()}

    def damage(self, name: str) -> None:
        content = bytearray((self.path / name).read_bytes())
        content[5] ^= 1
        self.remove(name)  # DVC's objects are read-only
        (self.path / name).write_bytes(content)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()


@dataclass
class Bucket(Remote):
    server: s3.S3Server
    prefix: str

    def add(self, checkout: Checkout) -> None:
        checkout.ok("remote", "add", "-d", "store", f"s3://{s3.BUCKET}/{self.prefix}")
        checkout.ok("remote", "modify", "store", "endpointurl", self.server.url)
        checkout.ok("remote", "modify", "store", "verify", "true")

    def log_in(self, checkout: Checkout, key: str = s3.ACCESS_KEY, secret: str = s3.SECRET_KEY) -> None:
        checkout.ok("remote", "modify", "--local", "store", "access_key_id", key)
        checkout.ok("remote", "modify", "--local", "store", "secret_access_key", secret)

    def objects(self) -> set[str]:
        found: list[str] = self.server.files().find(self._path(""))
        return {path.removeprefix(self._path("")) for path in found}

    def damage(self, name: str) -> None:
        content = bytearray(self.server.files().cat_file(self._path(name)))
        content[5] ^= 1
        self.server.files().pipe_file(self._path(name), bytes(content))

    def remove(self, name: str) -> None:
        self.server.files().rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{s3.BUCKET}/{self.prefix}/{name}"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed checkout in which the pipeline has run."""
    root = tmp_path_factory.mktemp("remotes") / "origin"
    root.mkdir()
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / ".gitignore").write_text("/data/\n")
    made = Checkout(root)
    made.git("init", "-q", "-b", "main")
    made.ok("init", "-q")
    assert ran(made.ok("repro")) == ["numbers", "sorted", "register"]
    made.git("add", "-A")
    made.git("commit", "-q", "-m", "run")
    return root


@pytest.fixture
def origin(template: Path, tmp_path: Path) -> Checkout:
    """The test's own copy of it."""
    return Checkout(shutil.copytree(template, tmp_path / "origin"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.S3Server]:
    with s3.serve(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def bucket(server: s3.S3Server, tmp_path: Path) -> Bucket:
    return Bucket(server, tmp_path.name)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.services)])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    return Folder(tmp_path / "remote") if request.param == "folder" else request.getfixturevalue("bucket")


def ran(said: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", said)


@pytest.fixture
def push(origin: Checkout) -> Callable[[Remote], Checkout]:
    """Push everything, and return a clone that is logged in and has pulled nothing."""

    def make(remote: Remote) -> Checkout:
        remote.add(origin)
        remote.log_in(origin)
        origin.git("commit", "-q", "-a", "-m", "remote")
        origin.ok("push")
        second = origin.clone("second")
        remote.log_in(second)
        return second

    return make


def test_a_second_clone_pulls_and_runs_nothing(origin, push, remote):
    second = push(remote)
    assert second.outputs() == {}
    second.ok("pull")
    assert second.outputs() == origin.outputs() != {}
    assert ran(second.ok("repro")) == []
    assert second.git("status", "--porcelain") == ""
    assert "secret" not in second.git("grep", "-i", "-e", "secret", "-e", "url")
    digests = {
        out["md5"] for stage in read_yaml(origin.root / "dvc.lock")["stages"].values() for out in stage.get("outs", ())
    }
    assert {name.removeprefix("files/md5/").replace("/", "") for name in remote.objects()} >= digests


def test_a_damaged_object_is_found_and_named_and_mended(origin, push, remote):
    second = push(remote)
    name = origin.object_of("numbers/all")
    remote.damage(name)
    code, said = second.dvc("pull")
    assert code != 0
    assert "data/numbers" in said and "data/sorted" not in said.partition("ERROR")[2]
    assert {path.partition("/")[0] for path in second.outputs()} == {"sorted"}
    assert not (second.root / ".dvc" / "cache" / name).exists()
    assert re.findall(r"(\S+): +data/(\S+)", second.ok("status", "-c")) == [("deleted", "numbers/all")]

    remote.remove(name)
    remote.remove(origin.folder_object("numbers"))  # DVC takes a folder that is there for complete
    assert "2 files pushed" in origin.ok("push")
    second.ok("pull")
    assert second.outputs() == origin.outputs()
    assert ran(second.ok("repro")) == []


@pytest.mark.services
def test_without_verify_damage_goes_unnoticed(origin, push, tmp_path):
    """Why docs/remotes.md and ``tinygptv doctor`` ask for ``verify``. If this fails, DVC has learned it: drop both."""
    remote = Folder(tmp_path / "remote")
    second = push(remote)
    remote.damage(origin.object_of("numbers/all"))
    config = second.root / ".dvc" / "config"
    config.write_text(config.read_text().replace("verify = true\n", ""))
    second.ok("pull")
    assert ran(second.ok("repro")) == []
    assert second.outputs()["numbers/all"] != origin.outputs()["numbers/all"]


@pytest.mark.services
def test_a_missing_object_is_named(origin, push, remote):
    second = push(remote)
    name = origin.object_of("sorted/all")
    remote.remove(name)
    code, said = second.dvc("pull")
    assert code != 0
    assert name.removeprefix("files/md5/").replace("/", "") in said
    assert second.outputs() == {}


@pytest.mark.services
@pytest.mark.parametrize(
    ("key", "secret", "words"),
    [
        (None, None, "Unable to locate credentials"),
        (s3.ACCESS_KEY, "wrong", "Forbidden"),
        ("wrong", s3.SECRET_KEY, "Forbidden"),
    ],
)
def test_without_the_right_credentials_nothing_is_read_or_written(origin, push, bucket, key, secret, words):
    push(bucket)
    stored = bucket.objects()
    third = origin.clone("third")
    if key is not None:
        bucket.log_in(third, key, secret)
    code, said = third.dvc("pull")
    assert code != 0
    assert words in said
    assert third.outputs() == {}

    assert ran(third.ok("repro", "-f", "-s", "numbers")) == ["numbers"]
    (third.root / "data" / "numbers" / "new").write_text("another object\n")
    third.ok("commit", "-f", "numbers")
    code, said = third.dvc("push")
    assert code != 0
    assert words in said
    assert bucket.objects() == stored


@pytest.mark.services
def test_a_server_that_is_gone_is_an_error(origin, tmp_path):
    with s3.serve(tmp_path / "s3") as running:
        bucket = Bucket(running, "here")
        bucket.add(origin)
        bucket.log_in(origin)
        origin.ok("push")
    code, said = origin.dvc("push")
    assert code != 0
    assert running.url in said
    assert running.process.poll() is not None
