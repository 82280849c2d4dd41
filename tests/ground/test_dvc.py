"""Our digests are DVC's: real ``dvc add`` and ``dvc repro`` in a small repository."""

import subprocess

import pytest

from tests.in_process import dvc
from tinygptv.ground.dvc import (
    Listed,
    cache_folder,
    dvc_md5,
    listed_files,
    lock_md5,
    named_md5,
    object_file,
    object_files,
)
from tinygptv.ground.errors import DataError, UserError
from tinygptv.ground.yaml_files import read_yaml


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("repository")
    made = root / "made"
    (made / "b").mkdir(parents=True)
    (made / "a b.txt").write_bytes(b"line\r\nline\r\n")
    (made / "b" / "ä.bin").write_bytes(bytes(range(256)))
    (made / "b" / "same.txt").write_bytes(b"line\r\nline\r\n")
    (made / "b-c.txt").write_bytes(b"")
    (root / "copied.txt").write_text("hello")
    (root / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: mkdir -p data/tiny && cp -r made data/tiny/one\n    outs: [data/tiny/one]\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_NO_ANALYTICS", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))
        for command in (["init"], ["repro"], ["add", "copied.txt"]):
            dvc(root, *command, "-q")
    return root


def test_folder_equals_what_repro_records(repository):
    recorded = read_yaml(repository / "dvc.lock")["stages"]["one"]["outs"][0]["md5"]
    assert recorded.endswith(".dir")
    assert dvc_md5(repository / "data" / "tiny" / "one") == recorded
    assert dvc_md5(repository / "made") == recorded


def test_file_equals_what_add_records(repository):
    recorded = read_yaml(repository / "copied.txt.dvc")["outs"][0]["md5"]
    assert dvc_md5(repository / "copied.txt") == recorded


def test_lock_md5_finds_an_output_by_either_kind_of_path(repository):
    folder = repository / "data" / "tiny" / "one"
    assert lock_md5(repository, folder) == dvc_md5(folder)
    assert lock_md5(repository, folder.relative_to(repository)) == dvc_md5(folder)
    assert lock_md5(repository, repository / "data" / "tiny" / "two") is None
    assert lock_md5(repository / "made", repository / "made" / "x") is None


def test_lock_md5_knows_the_files_of_a_folder(repository):
    folder = repository / "data" / "tiny" / "one"
    for file in (folder / "b" / "same.txt", folder / "a b.txt"):
        assert lock_md5(repository, file) == dvc_md5(file)
    assert lock_md5(repository, folder / "b") is None
    listing = object_file(cache_folder(repository), dvc_md5(folder))
    content = listing.read_bytes()
    listing.chmod(0o644)
    try:
        listing.write_bytes(b"[")
        assert lock_md5(repository, folder / "a b.txt") is None
        listing.unlink()
        assert lock_md5(repository, folder / "a b.txt") is None
    finally:
        listing.write_bytes(content)


def test_a_configuration_that_dvc_cannot_read_is_named(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[cache")
    with pytest.raises(UserError, match="Invalid line"):
        cache_folder(tmp_path)


def test_the_cache_keeps_what_repro_and_add_stored_where_we_look_for_it(repository):
    cache, folder = cache_folder(repository), repository / "made"
    assert cache == repository / ".dvc" / "cache"
    listing = object_file(cache, dvc_md5(folder))
    files = listed_files(listing)
    assert {file.path: file.md5 for file in files} == {
        path.relative_to(folder).as_posix(): dvc_md5(path) for path in folder.rglob("*") if path.is_file()
    }
    kept = {object_file(cache, md5) for md5 in [dvc_md5(repository / "copied.txt"), *(file.md5 for file in files)]}
    assert set(object_files(cache)) == {listing, *kept}
    assert all(named_md5(path) == dvc_md5(path) for path in (listing, *kept))


@pytest.mark.parametrize("content", [b"", b"{", b"7", b"[7]", b'[{"md5": "0"}]', b"\xff"])
def test_an_object_that_is_no_list_of_files(tmp_path, content):
    (tmp_path / "object").write_bytes(content)
    with pytest.raises(ValueError):
        listed_files(tmp_path / "object")


@pytest.mark.parametrize(("path", "outside"), [("a/b", False), ("a..b", False), ("/a", True), ("a/../../b", True)])
def test_a_path_that_leads_out_of_its_folder(path, outside):
    assert Listed(path, "0" * 32).outside == outside


def test_missing_and_empty_paths_are_named(tmp_path):
    with pytest.raises(DataError, match="nothing is missing"):
        dvc_md5(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no file"):
        dvc_md5(tmp_path / "empty")
