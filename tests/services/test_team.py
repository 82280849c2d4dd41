"""The smoke profile on PostgreSQL and S3, as ``tinygptv team up`` starts them: what lies where, and who gets in."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest

from tests.services.clones import MODEL, Clone, logs_of, smoke_clone
from tests.services.servers import until
from tests.services.teams import Team, read_exports
from tinygptv.ground import stores
from tinygptv.ground.files import sha256_tree
from tinygptv.ground.names import STEPS
from tinygptv.ground.servers import HOST, USER
from tinygptv.services import processes
from tinygptv.team import s3, settings
from tinygptv.tracking.registry import weights_folder

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """From nothing; afterwards no process is left."""
    folder = Path(tempfile.mkdtemp(prefix="team-"))
    folder.chmod(0o711)  # root's PostgreSQL is another user, who could not enter pytest's folders
    names = ("MLFLOW", "PREFECT", "POSTGRES", "S3")
    clone = smoke_clone(folder, dict(zip(names, s3.free_ports(len(names)), strict=True)))
    try:
        said = clone.call("tinygptv.cli", "team", "up")
        assert said.count(" running ") == 3, said
        exports = read_exports(clone.call("tinygptv.cli", "team", "env"))
        flow = clone.call("flows.pipeline", **{name: exports[name] for name in exports if not name.startswith("AWS_")})
        with pytest.MonkeyPatch.context() as patch:
            for name, value in exports.items():
                if name.startswith("MLFLOW_"):
                    patch.setenv(name, value)
            made = Team(clone, exports, flow)
            yield made
    finally:
        clone.call("tinygptv.cli", "team", "down")
    assert made.processes() == []
    shutil.rmtree(folder)


def test_the_pipeline_runs_as_ever(team):
    rows = [line.split() for line in team.flow.splitlines()]
    assert {row[0]: row[1] for row in rows if len(row) == 3 and row[0] in STEPS} == dict.fromkeys(STEPS, "Completed")
    assert f"MLflow run: {team.exports['MLFLOW_TRACKING_URI']}/#/experiments/" in team.flow


def test_nothing_is_in_files_of_the_checkout(team):
    for name in ("mlflow.db", "mlartifacts", ".prefect/prefect.db"):
        assert not (team.clone.root / name).exists(), name


def test_prefect_has_the_flow_run_in_postgresql(team):
    mine = "deployment_id IS NULL"  # the others wait for their time
    ((state, identity),) = team.rows("prefect", f"SELECT state_type::text, id::text FROM flow_run WHERE {mine}")
    assert state == "COMPLETED"
    tasks = team.rows("prefect", "SELECT name FROM task_run WHERE state_type = 'COMPLETED'")
    assert set(STEPS) <= {name for (name,) in tasks}
    assert team.servers.get(f"/flow_runs/{identity}")["state"]["type"] == "COMPLETED"
    artifacts = team.servers.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [identity]}}})
    assert {"steps", "results", "loss", "mlflow-run", "model-version"} <= {artifact["key"] for artifact in artifacts}


def test_mlflow_has_runs_in_postgresql_and_files_in_s3(team):
    finished = team.rows("mlflow", "SELECT name FROM runs WHERE status = 'FINISHED'")
    names = {name for (name,) in finished}
    assert names >= set(STEPS)
    assert any(re.fullmatch("pipeline [0-9a-f]{7} smoke", name) for name in names)
    experiment = team.mlflow.get_experiment_by_name("tinygptv/smoke")
    assert experiment.artifact_location.startswith("mlflow-artifacts:/")
    runs = team.mlflow.search_runs([experiment.experiment_id], "attributes.run_name = 'stage4'")
    names = {file.path for file in team.mlflow.list_artifacts(runs[0].info.run_id)}
    assert names
    there = team.objects(settings.ARTIFACTS)
    assert {key.rpartition("artifacts/")[2].split("/")[0] for key in there if runs[0].info.run_id in key} == names


def test_the_registered_model_comes_back_whole(team, tmp_path):
    assert set(team.mlflow.get_registered_model(MODEL).aliases) == {"challenger", "champion"}
    assert team.rows("mlflow", f"SELECT name, version FROM model_versions WHERE name = '{MODEL}'") == [(MODEL, 1)]
    fetched = weights_folder(f"models:/{MODEL}@champion", team.clone.root, tmp_path / "model")
    assert sha256_tree(fetched) == sha256_tree(team.clone.root / "data" / "smoke" / "quantize" / "model")


LARGE = """
import resource, sys
from pathlib import Path

met = set()
sys.addaudithook(lambda name, about: met.add(about[1][1]) if name == "socket.connect" else None)

from tinygptv.tracking.client import Tracking
from tinygptv.tracking.registry import Lineage, add_package, weights_folder

root, package, target = Path.cwd(), Path(sys.argv[1]), Path(sys.argv[2])
lineage = Lineage(profile="smoke", git_sha="c" * 40, digests={}, quantized={}, unquantized={}, run_id="")
version, _ = add_package(Tracking.connect(root), "large", package, lineage)
weights_folder(f"models:/large/{version}", root, target)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, *met)
"""
"""Registers and fetches a package; prints the MiB that it took at most, and the ports that it spoke to."""
MIB = 1024**2


def test_a_large_package_comes_and_goes_through_mlflows_server(team, tmp_path):
    """From 500 MiB on, MLflow's client would go to S3 itself, whose address a clone elsewhere need not know."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "config.json").write_text("{}")
    size = 501 * MIB
    with (package / "model.safetensors").open("wb") as file:
        for place in (0, size // 2, size - 1000):
            file.seek(place)
            file.write(os.urandom(1000))
    before = memory(team)
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(package), str(tmp_path / "copy")],
        cwd=team.clone.root,
        env={**team.clone.env, **team.exports, "PYTHONPATH": str(team.clone.root / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + logs_of(team.clone.root)
    peak, *ports = map(int, done.stdout.split())
    assert set(ports) == {int(team.exports["MLFLOW_TRACKING_URI"].rpartition(":")[2])}
    (copy,) = (tmp_path / "copy").rglob("model.safetensors")
    assert sha256_tree(copy.parent) == sha256_tree(package)
    assert memory(team) - before < size // 2, "the server holds files in memory"
    assert peak * MIB < size, "the client holds files in memory"
    shutil.rmtree(tmp_path)


def memory(team: Team) -> int:
    """The most bytes that MLflow's server has taken so far."""
    record = processes.known(team.clone.root / ".state" / "services" / "mlflow.json")
    assert record is not None
    first = psutil.Process(record.pid)
    peaks = [
        re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        for process in (first, *first.children(recursive=True))
    ]
    return sum(int(found[1]) * 1024 for found in peaks if found)


def test_the_lineage_is_complete(team):
    only_mlflow = {name: value for name, value in team.exports.items() if name.startswith("MLFLOW_")}
    team.clone.call("tinygptv.cli", "lineage", f"models:/{MODEL}@champion", **only_mlflow)


def test_a_second_clone_pulls_what_the_first_pushed(team):
    """With the lines of docs/team.md."""
    first = team.clone
    key = {name: value for name, value in team.exports.items() if name.startswith("AWS_")}
    for words in (
        ("remote", "add", "-d", "team", "s3://dvc/tinygptv"),
        ("remote", "modify", "team", "endpointurl", team.settings.s3),
        ("remote", "modify", "team", "verify", "true"),
    ):
        first.call("dvc", *words)
    first.call("dvc", "push", **key)
    first.git("add", "-A")
    first.git("commit", "-q", "-m", "results")
    second = Clone(first.root.parent / "second", first.env)
    subprocess.run(["git", "clone", "-q", str(first.root), str(second.root)], check=True)
    nobody = {"HOME": str(first.root), "AWS_EC2_METADATA_DISABLED": "true"}
    assert "Unable to locate credentials" in second.call("dvc", "pull", code=1, **nobody)
    second.call("dvc", "pull", **key)
    recorded = {name: value for name, value in team.exports.items() if name.startswith("MLFLOW_")}
    said = second.call("dvc", "repro", **recorded)
    assert "Running stage" not in said
    for step in STEPS[:-1]:
        assert sha256_tree(second.root / "data" / "smoke" / step) == sha256_tree(first.root / "data" / "smoke" / step)
    assert any(name.startswith("tinygptv/files/md5/") for name in team.objects(settings.REMOTE))
    flow = second.call("flows.pipeline", "--from", "quantize", **recorded)
    assert re.search(r"^register +UpToDate", flow, re.MULTILINE), flow  # the registry is shared, so it is not empty
    assert not (second.root / "mlflow.db").exists()


def test_the_worker_records_there_too(team):
    before = len(team.rows("mlflow", "SELECT name FROM runs"))
    run = team.servers.run("nightly", to_step="download")
    team.servers.wait_state(run, "COMPLETED", 240)
    assert len(team.rows("mlflow", "SELECT name FROM runs")) > before
    tagged = team.rows("mlflow", f"SELECT run_uuid FROM tags WHERE key = 'prefect.flow_run_id' AND value = '{run}'")
    assert tagged


def test_mlflow_wants_a_password(team):
    url, user = team.exports["MLFLOW_TRACKING_URI"], team.exports["MLFLOW_TRACKING_USERNAME"]
    ask = {"url": f"{url}/api/2.0/mlflow/experiments/search", "json": {"max_results": 1}, "timeout": 30}
    for auth in (None, (user, "wrong"), ("admin", team.exports["MLFLOW_TRACKING_PASSWORD"]), ("admin", "password1234")):
        assert httpx.post(auth=auth, **ask).status_code == 401, auth
    right = (user, team.exports["MLFLOW_TRACKING_PASSWORD"])
    assert httpx.post(auth=right, **ask).status_code == 200
    assert httpx.post(auth=right, headers={"Host": "attacker.example"}, **ask).status_code == 403
    (key, *_) = team.objects(settings.ARTIFACTS)
    for path in ("/", "/api/2.0/mlflow/users/list", f"/api/2.0/mlflow-artifacts/artifacts/{key}", "/graphql"):
        assert httpx.get(url + path, timeout=30).status_code == 401, path


def test_a_member_may_record_and_not_delete(team):
    url = team.exports["MLFLOW_TRACKING_URI"]
    admin = (team.exports["MLFLOW_TRACKING_USERNAME"], team.exports["MLFLOW_TRACKING_PASSWORD"])
    member = {"username": "member", "password": "a-password-of-the-tests"}
    api = f"{url}/api/2.0/mlflow"
    assert httpx.post(f"{api}/users/create", json=member, auth=admin, timeout=30).status_code == 200
    identity = team.mlflow.get_experiment_by_name("tinygptv/smoke").experiment_id
    theirs = {"auth": tuple(member.values()), "timeout": 30}
    body = {"experiment_id": identity, "run_name": "theirs"}
    assert httpx.post(f"{api}/runs/create", json=body, **theirs).status_code == 200
    alias = {"name": MODEL, "alias": "tried", "version": "1"}
    assert httpx.post(f"{api}/registered-models/alias", json=alias, **theirs).status_code == 200
    own = {"name": f"{MODEL}.moving"}  # what a promotion makes and removes (tracking/alias_turn.py)
    assert httpx.post(f"{api}/registered-models/create", json=own, **theirs).status_code == 200
    assert httpx.request("DELETE", f"{api}/registered-models/delete", json=own, **theirs).status_code == 200
    assert httpx.post(f"{api}/experiments/delete", json={"experiment_id": identity}, **theirs).status_code == 403
    assert httpx.request("DELETE", f"{api}/registered-models/delete", json={"name": MODEL}, **theirs).status_code == 403
    assert httpx.post(f"{api}/users/create", json={**member, "username": "x"}, **theirs).status_code == 403


def test_prefect_wants_its_password(team):
    api = team.exports["TINYGPTV_PREFECT_API_URL"]
    for auth in (None, (USER, "wrong")):
        answer = httpx.post(f"{api}/flow_runs/filter", json={}, auth=auth, timeout=30)
        assert answer.status_code == 401
    assert team.servers.ask("/flow_runs/filter")


def test_databases_and_buckets_are_for_their_own_servers(team):
    import psycopg2
    from botocore.exceptions import ClientError

    port, passwords = team.settings.postgres_port, team.settings.database_passwords
    for user, password, database in (
        ("mlflow", passwords["mlflow"], "prefect"),
        ("prefect", passwords["prefect"], "mlflow_users"),
        ("mlflow", "wrong", "mlflow"),
        (USER, "", "postgres"),
    ):
        with pytest.raises(psycopg2.OperationalError, match=r"password|permission denied"):
            psycopg2.connect(host=HOST, port=port, user=user, password=password, dbname=database, connect_timeout=5)
    keys = team.settings.s3_keys
    for key, bucket in (
        (keys[settings.REMOTE], settings.ARTIFACTS),
        (keys[settings.ARTIFACTS], settings.REMOTE),
        ({**keys[settings.REMOTE], "secret": "wrong"}, settings.REMOTE),
    ):
        client = s3.client(team.settings.s3, key)
        for ask in (
            lambda client=client, bucket=bucket: client.list_objects_v2(Bucket=bucket),
            lambda client=client, bucket=bucket: client.put_object(Bucket=bucket, Key="x", Body=b"x"),
        ):
            with pytest.raises(ClientError, match=r"403|AccessDenied|SignatureDoesNotMatch"):
                ask()


def test_secrets_are_for_this_user_alone(team):
    chosen, named = team.settings, stores.read(team.clone.root)
    assert named is not None
    secrets = [*chosen.database_passwords.values(), chosen.postgres_password, chosen.mlflow_password]
    secrets += [key["secret"] for key in (chosen.s3_admin, *chosen.s3_keys.values())] + [named.session_key]
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        assert not any(secret in words for secret in secrets), process
    kept = team.clone.root / ".state" / "services"
    assert kept.stat().st_mode & 0o777 == 0o700
    for name in ("team.json", "stores.json", "mlflow-users.ini"):
        assert (kept / name).stat().st_mode & 0o777 == 0o600, name
    for log in [*kept.glob("*.log"), *team.settings.folder.glob("*.log")]:
        assert not any(secret in log.read_text(errors="replace") for secret in secrets), log


def test_everything_listens_on_loopback_alone(team):
    found = [entry for process in team.processes() for entry in process.net_connections("inet")]
    listening = [entry.laddr for entry in found if entry.status == psutil.CONN_LISTEN]
    assert {address.port for address in listening} >= {team.settings.postgres_port, team.settings.s3_port}
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}


def test_a_killed_postgresql_comes_back_with_everything(team):
    """The rows that it had acknowledged are there, the servers connect again by themselves."""
    before = team.rows("mlflow", "SELECT count(*) FROM runs")
    record = processes.known(team.settings.folder / "postgres.json")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    until(lambda: not record.lives(), 10, lambda: "PostgreSQL does not die")
    assert "stopped" in team.clone.call("tinygptv.cli", "team", "status", code=1)
    assert "postgres runs at" in team.clone.call("tinygptv.cli", "team", "up")
    assert team.rows("mlflow", "SELECT count(*) FROM runs") == before
    until(lambda: answered(team) == (200, 200), 60, lambda: f"{answered(team)}{team.servers.logs()}")


def answered(team: Team) -> tuple[int, int]:
    """The answers of both servers to a question that needs their database."""
    user, password = team.exports["MLFLOW_TRACKING_USERNAME"], team.exports["MLFLOW_TRACKING_PASSWORD"]
    url = f"{team.exports['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/get-by-name"
    name = {"experiment_name": "tinygptv/smoke"}
    mlflow = httpx.get(url, params=name, auth=(user, password), timeout=30).status_code
    with team.servers.prefect as client:
        return mlflow, client.post("/flow_runs/filter", json={}).status_code


def test_all_is_there_after_down_and_up(team):
    before, kept = team.objects(settings.ARTIFACTS), team.settings
    said = team.clone.call("tinygptv.cli", "team", "down")
    assert "postgres stopped" in said and team.processes() == []
    assert not stores.file_of(team.clone.root).exists()  # from now on the servers would use files again
    team.clone.call("tinygptv.cli", "team", "up")
    assert team.settings == kept
    assert team.objects(settings.ARTIFACTS) == before
    assert set(team.mlflow.get_registered_model(MODEL).aliases) >= {"challenger", "champion"}
    assert "everything runs already" in team.clone.call("tinygptv.cli", "team", "up")
