"""Files of a run on their way back."""

import pytest

from tinygptv.ground.errors import UserError
from tinygptv.tracking.artifacts import download_artifacts


def test_the_wanted_files_of_a_run_arrive(tracking, root, tmp_path):
    run = tracking.mlflow.create_run(tracking.experiment("tiny")).info.run_id
    for name in ("manifest.json", "other.txt"):
        (tmp_path / name).write_text(name)
        tracking.mlflow.log_artifact(run, str(tmp_path / name))
    folder = download_artifacts(root, run, ("manifest.json", "trace.jsonl"), tmp_path / "target")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("manifest.json", "manifest.json")]


def test_what_is_not_there_is_a_user_error(tracking, root, tmp_path):
    run = tracking.mlflow.create_run(tracking.experiment("tiny")).info.run_id
    with pytest.raises(UserError, match=r"has none of manifest\.json; name the run of a training stage"):
        download_artifacts(root, run, ("manifest.json",), tmp_path)
    with pytest.raises(UserError, match="has no such run"):
        download_artifacts(root, "f" * 32, ("manifest.json",), tmp_path)
    with pytest.raises(UserError, match=r"mlflow\.db does not exist"):
        download_artifacts(tmp_path, run, ("manifest.json",), tmp_path)
    assert not (tmp_path / "mlflow.db").exists()
