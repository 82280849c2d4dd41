"""What scheduled runs leave behind; tests/services has the schedule itself."""

from __future__ import annotations

import shutil

from flows.pipeline import make_plan
from tests.in_process import dvc


def test_what_a_night_made_is_found_after_the_next_and_dvc_gives_it_back(project, git):
    def night() -> list[str]:
        said: list[str] = []
        plan = make_plan(project, None, None, None, [], nightly=True, say=said.append)
        dvc(plan.root, "repro", "-q")
        return said

    night()
    step = project / "step.sh"
    step.write_text(step.read_text().replace('echo "$1" >', 'echo "$1 again" >'))
    (project / "configs" / "tiny.yaml").write_text("width: 3\n")
    git(project, "commit", "-q", "-a", "-m", "another result")
    said = night()
    (kept,) = (project / ".state" / "kept" / "nightly-tiny").iterdir()
    assert said[0].endswith(f"also in {kept.relative_to(project)}")
    result = "data/tiny/last/result"
    assert (project / ".state" / "worktrees" / "nightly-tiny" / result).read_text() == "last again\n"

    shutil.copy(kept / "dvc.lock", project)
    dvc(project, "checkout", "-q")
    assert (project / result).read_text() == "last\n"
