from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tinygptv.ground import worktree
from tinygptv.ground.dvc import cache_folder
from tinygptv.ground.errors import UserError


@pytest.fixture
def git() -> Callable[..., str]:
    """Call git in a folder."""

    def call(folder: Path, *arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout

    return call


@pytest.fixture
def project(tmp_path: Path, git: Callable[..., str]) -> Path:
    """A commit with two profiles, in a folder that DVC knows."""
    files = {
        "params.yaml": "# the switch\nprofile: tiny\nseed: 7\n",
        "configs/tiny.yaml": "size: 1\n",
        "configs/other.yaml": "size: 2\n",
        "src/a.py": "one = 1\n",
        ".dvc/config": "[core]\n    analytics = false\n",
        ".gitignore": "/.state/\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "start")
    return tmp_path


def test_a_worktree_has_the_profile_and_the_shared_cache_and_follows_the_last_commit(project, git):
    folder = worktree.prepare(project, "other")
    assert folder == project / ".state" / "worktrees" / "other"
    assert (folder / "params.yaml").read_text() == "# the switch\nprofile: other\nseed: 7\n"
    assert f"dir = {project / '.dvc' / 'cache'}\n" in (folder / ".dvc" / "config.local").read_text()
    assert "profile: tiny" in (project / "params.yaml").read_text()

    (folder / "dvc.lock").write_text("kept: true\n")
    worktree.prepare(project, "other")  # nothing was committed: what the worktree has stays
    assert (folder / "dvc.lock").read_text() == "kept: true\n"

    (project / "configs" / "other.yaml").write_text("size: 3\n")
    assert worktree.changed_files(project) == ["configs/other.yaml"]
    nightly = worktree.prepare(project, "other", nightly=True)
    assert (nightly / "configs" / "other.yaml").read_text() == "size: 2\n"
    git(project, "commit", "-q", "-a", "-m", "three")
    assert worktree.changed_files(project) == []
    assert (worktree.prepare(project, "other") / "configs" / "other.yaml").read_text() == "size: 3\n"
    assert (folder / "params.yaml").read_text() == "# the switch\nprofile: other\nseed: 7\n"


def test_scheduled_runs_have_a_worktree_of_their_own(project):
    folder = worktree.prepare(project, "tiny", nightly=True)
    assert folder == project / ".state" / "worktrees" / "nightly-tiny"
    assert "profile: tiny" in (folder / "params.yaml").read_text()
    with pytest.raises(UserError, match="belongs to `tinygptv verify`"):
        worktree.prepare(project, "verify")


def test_a_cache_elsewhere_is_shared_too(project):
    (project / ".dvc" / "config.local").write_text("[cache]\n    dir = /somewhere/else\n")
    assert cache_folder(worktree.prepare(project, "other")) == Path("/somewhere/else")


def test_a_scratch_worktree_is_the_last_commit_and_leaves_nothing(project, git):
    (project / "src" / "a.py").write_text("two = 2\n")
    folder = worktree.add_scratch(project, project / ".dvc" / "cache")
    assert folder == project / ".state" / "worktrees" / "verify"
    assert (folder / "src" / "a.py").read_text() == "one = 1\n"
    (folder / "left").write_text("by a killed process")
    assert not (worktree.add_scratch(project, project / ".dvc" / "cache") / "left").exists()
    worktree.remove_scratch(project)
    worktree.remove_scratch(project)
    assert not folder.exists()
    assert git(project, "worktree", "list").count("\n") == 1


def test_changed_files_below_a_path_may_be_unknown_to_git(project):
    (project / "src" / "a.py").write_text("two = 2\n")
    (project / "src" / "an odd näme.py").touch()
    (project / "README.md").touch()
    assert worktree.changed_files(project) == ["src/a.py"]
    assert sorted(worktree.changed_files(project, "src", "nowhere")) == ["src/a.py", "src/an odd näme.py"]


def test_a_profile_is_carried_as_it_is_in_the_checkout(project, git):
    said: list[str] = []
    new = project / "configs" / "new.yaml"
    new.write_text("size: 9\n")
    folder = worktree.prepare(project, "new", say=said.append)
    assert (folder / "configs" / "new.yaml").read_text() == "size: 9\n"
    assert said == ["with configs/new.yaml as it is in the checkout, which is not committed"]
    new.write_text("size: 10\n")
    worktree.prepare(project, "new", say=said.append)
    assert (folder / "configs" / "new.yaml").read_text() == "size: 10\n"
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "mine")
    said.clear()
    worktree.prepare(project, "new", say=said.append)
    assert (folder / "configs" / "new.yaml").read_text() == "size: 10\n"
    assert said == []  # nothing that only the worktree had was in the way of the commit
    assert worktree.changed_files(folder) == ["params.yaml"]


def test_results_lie_in_the_checkout_or_else_in_the_worktree(project):
    folder = worktree.prepare(project, "other")
    assert worktree.results_folder(project, "other") == project / "reports" / "other"
    (folder / "reports" / "other").mkdir(parents=True)
    assert worktree.results_folder(project, "other") == folder / "reports" / "other"
    (project / "reports" / "other").mkdir(parents=True)
    assert worktree.results_folder(project, "other") == project / "reports" / "other"


def test_a_profile_that_is_not_committed_is_refused_where_the_commit_alone_counts(project):
    (project / "configs" / "new.yaml").write_text("size: 9\n")
    with pytest.raises(UserError, match=r"configs/new\.yaml is not part of the last commit"):
        worktree.prepare(project, "new", nightly=True)
    with pytest.raises(UserError, match="belongs to `tinygptv verify`"):
        worktree.prepare(project, "verify")


def test_a_repository_without_a_commit_is_refused(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(UserError, match="commit"):
        worktree.prepare(tmp_path, "other")


LOCK, REPORT = "dvc.lock", "reports/tiny/evaluate.json"


@pytest.fixture
def with_results(project: Path, git: Callable[..., str]) -> Path:
    """The project, with a lock and a report in the commit."""
    (project / "reports" / "tiny").mkdir(parents=True)
    (project / LOCK).write_text("stages: {committed: {}}\n")
    (project / REPORT).write_text("committed")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "results")
    return project


def change(project: Path, git: Callable[..., str], name: str, content: str) -> str:
    """One more commit; its id."""
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(content)
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", content)
    return git(project, "rev-parse", "HEAD").strip()


def kept(project: Path, name: str) -> list[dict[str, str]]:
    """What is kept of a worktree, the oldest first, as name and content of its files."""
    folders = sorted((project / ".state" / "kept" / name).glob("*"))
    return [
        {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    ]


@pytest.mark.parametrize("nightly", [True, False])
def test_what_a_run_made_outlives_the_next_checkout(with_results, git, nightly):
    project, profile = with_results, "tiny" if nightly else "other"
    said: list[str] = []
    folder = worktree.prepare(project, profile, nightly=nightly)
    made = worktree.last_commit(project)
    results = {LOCK: "stages: {made: {}}\n", REPORT: "made", "reports/tiny/loss.png": "unknown to git"}
    for name, content in results.items():
        (folder / name).write_text(content)
    change(project, git, "src/a.py", "two = 2\n")

    worktree.prepare(project, profile, nightly=nightly, say=said.append)
    assert (folder / "src" / "a.py").read_text() == "two = 2\n"
    assert {name: (folder / name).read_text() for name in results} == results  # as the run left them
    assert kept(project, folder.name) == [results]
    (place,) = (project / ".state" / "kept" / folder.name).iterdir()
    assert place.name.endswith(made[:12])
    assert said == [f"what {folder.name} had made and nobody committed is also in {place.relative_to(project)}"]

    change(project, git, "src/a.py", "three = 3\n")
    worktree.prepare(project, profile, nightly=nightly, say=said.append)
    assert kept(project, folder.name) == [results]  # once: nothing new was made
    assert len(said) == 1


def test_nothing_is_kept_where_nothing_would_be_lost(with_results, git):
    project = with_results
    folder = worktree.prepare(project, "other")
    change(project, git, "src/a.py", "two = 2\n")
    worktree.prepare(project, "other")  # whose params.yaml names the profile
    (folder / LOCK).write_text("stages: {made: {}}\n")
    change(project, git, LOCK, "stages: {made: {}}\n")  # somebody has committed it
    worktree.prepare(project, "other")
    assert kept(project, "other") == []


def test_what_a_person_changed_in_a_worktree_is_kept_aside(with_results, git):
    """Code, a staged file, the seed, and a file unknown to git in whose place the commit has one."""
    project = with_results
    folder = worktree.prepare(project, "other")
    edited = {"src/a.py": "mine = 1\n", "params.yaml": "# the switch\nprofile: other\nseed: 9\n", "new.txt": "mine"}
    for name, content in {**edited, "untouched.txt": "stays"}.items():
        (folder / name).write_text(content)
    git(folder, "add", "src/a.py")
    change(project, git, "new.txt", "the commit's")
    worktree.prepare(project, "other")
    assert (folder / "src" / "a.py").read_text() == "one = 1\n"
    assert (folder / "new.txt").read_text() == "the commit's"
    assert (folder / "untouched.txt").read_text() == "stays"
    assert kept(project, "other") == [edited]


def test_a_lock_that_cannot_be_read_does_not_stop_the_next_run(with_results, git):
    folder = worktree.prepare(with_results, "tiny", nightly=True)
    (folder / LOCK).write_text("stages: {half")  # killed while DVC wrote it
    change(with_results, git, "src/a.py", "two = 2\n")
    worktree.prepare(with_results, "tiny", nightly=True)
    assert (folder / LOCK).read_text() == "stages: {committed: {}}\n"
    assert kept(with_results, "nightly-tiny") == [{LOCK: "stages: {half"}]


def test_only_the_newest_are_kept(with_results, git, monkeypatch):
    monkeypatch.setattr(worktree, "KEPT", 4)
    folder = worktree.prepare(with_results, "tiny", nightly=True)
    for number in range(6):
        (folder / REPORT).write_text(f"made {number}")
        change(with_results, git, "src/a.py", f"number = {number}\n")
        worktree.prepare(with_results, "tiny", nightly=True)
    assert kept(with_results, "nightly-tiny") == [{REPORT: f"made {number}"} for number in range(2, 6)]


def test_a_kill_before_everything_is_kept_leaves_the_worktree_as_it_was(with_results, git, monkeypatch):
    folder = worktree.prepare(with_results, "tiny", nightly=True)
    (folder / REPORT).write_text("made")
    change(with_results, git, "src/a.py", "two = 2\n")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(worktree, "replace_folder", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        worktree.prepare(with_results, "tiny", nightly=True)
    assert (folder / REPORT).read_text() == "made"
    worktree.prepare(with_results, "tiny", nightly=True)
    assert kept(with_results, "nightly-tiny") == [{REPORT: "made"}]


def test_a_worktree_in_which_a_pipeline_works_is_not_moved(with_results, git):
    code = (
        "import sys\nfrom pathlib import Path\nfrom tinygptv.ground import worktree\n"
        "worktree.prepare(Path.cwd(), 'other')\nprint('here', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=with_results, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "here\n"
        change(with_results, git, "src/a.py", "two = 2\n")
        with pytest.raises(UserError, match=f"a pipeline in .* runs already .PID {other.pid}"):
            worktree.prepare(with_results, "other")
        worktree.prepare(with_results, "tiny", nightly=True)
        other.communicate()
    worktree.prepare(with_results, "other")


@pytest.mark.parametrize("root", ["/", "/a", "/home/a/checkout"])
def test_a_worktree_knows_its_main_checkout(root):
    main = Path(root)
    assert worktree.main_of(worktree.folder_of(main, "smoke")) == main
    assert worktree.main_of(main) == main
    seen = worktree.output_folders(worktree.folder_of(main, "mine", nightly=True), "smoke", "backbones")
    assert seen[1:] == worktree.output_folders(main, "smoke", "backbones")
