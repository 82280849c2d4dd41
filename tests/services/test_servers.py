"""``tinygptv up`` for real: what it starts, what it refuses, what a schedule does, and what is left after ``down``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2 as httpx
import psutil
import pytest

from flows.artifacts import artifact_url
from flows.automations import START_SECONDS
from tests.drills.projects import git
from tests.services.others import OPEN, another_user, is_another
from tests.services.servers import STAGES, Servers, until
from tinygptv.ground import servers as settings
from tinygptv.services import processes
from tinygptv.tracking import pages
from tinygptv.tracking.client import Tracking

pytestmark = pytest.mark.services
ATTACK = """
server, run = sys.argv[1:]
alias = b'{"name": "theirs", "alias": "champion", "version": "2"}'
ASKS = {
    "POST /api/2.0/mlflow/registered-models/alias": alias,
    "POST /ajax-api/2.0/mlflow/registered-models/alias": alias,
    "DELETE /api/2.0/mlflow/registered-models/alias": alias,
    "DELETE /api/2.0/mlflow/registered-models/delete": b'{"name": "theirs"}',
    "POST /api/2.0/mlflow/model-versions/set-tag": b'{"name": "theirs", "version": "1", "key": "k", "value": "v"}',
    "POST /api/2.0/mlflow/runs/create": b'{"experiment_id": "1"}',
    "POST /api/2.0/mlflow/users/create": b'{"username": "they", "password": "their-password"}',
    "POST /api/2.0/mlflow/webhooks": b'{"name": "w", "url": "http://127.0.0.1:9", "events": []}',
    "POST /graphql": b'{"query": "{ __typename }"}',
    "PUT /api/2.0/mlflow-artifacts/artifacts/x": b"x",
    "DELETE /api/2.0/mlflow-artifacts/artifacts/x": b"",
    f"GET /get-artifact?path=note.txt&run_uuid={run}": None,
    "GET /signup": None,
    "POST /v1/traces": b"",
    "GET /": None,
}
for ask, content in ASKS.items():
    method, path = ask.split(" ")
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(server + path, data=content, headers=headers, method=method)
    try:
        print(ask, urllib.request.urlopen(request, timeout=30).status)
    except urllib.error.HTTPError as error:
        print(ask, error.code)
"""
"""What a program without the password may ask MLflow."""
PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000")
CRASHED_SECONDS = 120.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Everything up, from nothing; afterwards no process is left."""
    made = Servers.prepare(tmp_path_factory.mktemp("servers"))
    try:
        said = made.call("up")
        assert said.count(" running ") == 3, said
        assert made.settings.auth.partition(":")[2] not in said + made.logs()
        yield made
    finally:
        made.call("down")
        for service in ("worker", "prefect", "mlflow"):
            assert made.below(service) == []


def pids(servers: Servers) -> dict[str, int]:
    folder = settings.folder_of(servers.root)
    return {name: processes.known(folder / f"{name}.json").pid for name in ("mlflow", "prefect", "worker")}


def test_the_secret_is_for_this_user_alone(servers):
    folder = settings.folder_of(servers.root)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "settings.json").stat().st_mode & 0o777 == 0o600
    secrets = [auth.partition(":")[2] for auth in (servers.settings.auth, servers.settings.mlflow_auth)]
    assert len(set(secrets)) == 2
    for process in psutil.process_iter(["cmdline"]):
        assert not any(
            secret in " ".join(process.info["cmdline"] or ()) for secret in secrets
        )  # every user may read command lines


def test_up_again_changes_nothing(servers):
    before = pids(servers)
    said = servers.call("up")
    assert "everything runs already" in said
    assert pages.of_experiments(servers.settings.mlflow) in said.split()
    assert pids(servers) == before
    assert servers.call("status").count(" running ") == 3


def test_everything_listens_on_loopback_alone(servers):
    for service in ("mlflow", "prefect", "worker"):
        for process in servers.below(service):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    assert connection.laddr.ip in ("127.0.0.1", "::1"), (service, connection)


def test_prefect_wants_the_password(servers):
    api = servers.settings.prefect_api
    post = {"json": {}, "timeout": 30}
    assert httpx.post(f"{api}/deployments/filter", **post).status_code == 401
    for wrong in (("tinygptv", "wrong"), ("other", servers.settings.auth.partition(":")[2])):
        assert httpx.post(f"{api}/deployments/filter", auth=wrong, **post).status_code == 401
    assert httpx.get(f"{api}/flow_runs/filter/../../admin/settings", timeout=30).status_code == 401
    assert len(servers.ask("/deployments/filter")) >= 3
    assert httpx.get(f"{api}/health", timeout=30).status_code == 200


def test_mlflow_wants_the_password(servers):
    own, (user, password) = servers.settings, servers.user
    ask = {"url": f"{own.mlflow}/api/2.0/mlflow/experiments/search", "json": {"max_results": 1}, "timeout": 30}
    for auth in (None, (user, "wrong"), ("admin", password), ("admin", "password1234")):
        assert httpx.post(auth=auth, **ask).status_code == 401, auth
    assert httpx.post(auth=servers.user, **ask).status_code == 200
    page = httpx.get(f"{own.mlflow}/", timeout=30)
    assert (page.status_code, page.headers["www-authenticate"]) == (401, 'Basic realm="mlflow"')  # a browser asks
    assert "<title>MLflow</title>" in httpx.get(f"{own.mlflow}/", auth=servers.user, timeout=30).text


def test_another_user_of_the_machine_moves_no_alias_and_gets_no_file(servers):
    tracking = Tracking.connect(servers.root)
    tracking.mlflow.create_registered_model("theirs")
    run = tracking.mlflow.create_run(tracking.experiment("tiny")).info.run_id
    tracking.mlflow.log_text(run, "text", "note.txt")
    tracking.mlflow.create_model_version("theirs", f"runs:/{run}/model")
    tracking.mlflow.set_registered_model_alias("theirs", "champion", "1")
    said = another_user(ATTACK, [servers.settings.mlflow, run])
    assert {line.rpartition(" ")[2] for line in said} == {"401"} and len(said) > 10, said
    assert dict(tracking.mlflow.get_registered_model("theirs").aliases) == {"champion": 1}
    assert [file.path for file in tracking.mlflow.list_artifacts(run)] == ["note.txt"]
    folders = ("mlartifacts", ".prefect", ".state/services")
    for name in (*folders, "mlflow.db", ".state/services/mlflow-users.db"):
        assert (servers.root / name).stat().st_mode & 0o077 == 0, name
    below = [str(path) for name in folders for path in (servers.root / name).rglob("*") if path.is_file()]
    if is_another():
        assert another_user(OPEN, [*below, str(servers.root / "mlflow.db")]) == []
    tracking.mlflow.delete_registered_model("theirs")


def test_who_records_on_this_server_finds_the_password(servers, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", servers.settings.mlflow)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert Tracking.connect(servers.root).experiment("smoke")  # its files are the server's; those of tiny are not


def test_the_users_are_those_of_the_settings_after_each_start(servers):
    """Also where the settings, and so the password, were made anew."""
    servers.call("down")
    (settings.folder_of(servers.root) / "settings.json").unlink()
    former = servers.user if settings.read(servers.root) else None
    servers.call("up")
    ask = {"url": f"{servers.settings.mlflow}/api/2.0/mlflow/experiments/search", "json": {"max_results": 1}}
    assert former is None and httpx.post(auth=servers.user, timeout=30, **ask).status_code == 200


def test_a_foreign_host_is_refused(servers):
    own, foreign = servers.settings, {"Host": "attacker.example"}
    for url in (f"{own.prefect_api}/health", f"{own.prefect}/", f"{own.prefect}/ui-settings"):
        assert httpx.get(url, headers=foreign, timeout=30).status_code == 400, url
        assert httpx.get(url, timeout=30, follow_redirects=True).status_code == 200, url
    for host in ("attacker.example", f"attacker.example:{own.mlflow_port}", f"192.168.0.1:{own.mlflow_port}"):
        answer = httpx.post(
            f"{own.mlflow}/api/2.0/mlflow/experiments/search",
            json={"max_results": 1},
            headers={"Host": host},
            auth=servers.user,
        )
        assert answer.status_code == 403, host


def test_a_foreign_origin_is_refused(servers):
    own, foreign = servers.settings, "http://attacker.example"
    method, headers = "Access-Control-Request-Method", "Access-Control-Request-Headers"
    asks = {"Origin": foreign, method: "POST", headers: "content-type"}
    answer = httpx.options(f"{own.prefect_api}/flow_runs/filter", headers=asks, timeout=30)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers
    for origin in (own.prefect, f"http://localhost:{own.prefect_port}"):
        answer = httpx.options(f"{own.prefect_api}/flow_runs/filter", headers=asks | {"Origin": origin}, timeout=30)
        assert answer.headers["access-control-allow-origin"] == origin
    url = f"{own.mlflow}/api/2.0/mlflow/experiments/create"
    theirs = {"json": {"name": "theirs"}, "headers": {"Origin": foreign}}
    assert httpx.post(url, auth=servers.user, timeout=30, **theirs).status_code == 403


def test_mlflow_hands_out_a_picture_and_no_file_beside_it(servers, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = Tracking.connect(servers.root)
    run = tracking.mlflow.create_run(tracking.experiment("tiny")).info.run_id
    (tmp_path / "loss.png").write_bytes(PNG)
    tracking.mlflow.log_artifact(run, str(tmp_path / "loss.png"))
    page = tracking.url(tracking.experiment("tiny"), run)
    assert page.startswith(f"{servers.settings.mlflow}/#/")
    assert pages.of_experiment(servers.settings.mlflow, tracking.experiment("tiny")) in servers.call("up").split()
    assert httpx.get(artifact_url(page, run, "loss.png"), timeout=30).status_code == 401
    answer = httpx.get(artifact_url(page, run, "loss.png"), auth=servers.user, timeout=30)
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    secret = settings.folder_of(servers.root) / "settings.json"
    for path in (
        f"../../../../../.state/services/{secret.name}",
        str(secret),
        f"file://{secret}",
        f"..%2f..%2f..%2f..%2f.state%2fservices%2f{secret.name}",
        "%2e%2e/%2e%2e/%2e%2e/params.yaml",
        "..\\..\\params.yaml",
    ):
        answer = httpx.get(artifact_url(page, run, path), auth=servers.user, timeout=30)
        assert answer.status_code in (400, 404, 500), (path, answer.status_code)
        assert b"auth" not in answer.content and b"profile" not in answer.content, path
        listed = f"{servers.settings.mlflow}/api/2.0/mlflow/artifacts/list"
        found = httpx.get(listed, params={"run_id": run, "path": path}, auth=servers.user, timeout=30)
        assert not found.json().get("files")


def test_a_manual_run_takes_parameters_and_works_in_a_worktree(servers):
    run = servers.run("nightly", to_step="second", force=["first"])
    servers.wait_state(run, "COMPLETED", 120)
    assert servers.state(run)[1] == "2 steps"
    assert [servers.count("ended", stage) for stage in STAGES] == [1, 1, 0]
    messages = [log["message"] for log in servers.ask("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})]
    assert {"first at work", "second at work"} <= set(messages)
    artifacts = servers.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    kinds = {artifact["key"]: artifact["type"] for artifact in artifacts}
    assert kinds["steps"] == "table"
    (link,) = [artifact["data"] for artifact in artifacts if artifact["key"] == "mlflow-run"]
    assert f"{servers.settings.mlflow}/#/experiments/" in link
    tasks = servers.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    assert sorted((task["name"], task["state_type"]) for task in tasks) == [
        ("first", "COMPLETED"),
        ("second", "COMPLETED"),
    ]
    # the user's files are as they were
    assert not (servers.root / "data").exists()
    assert (servers.root / ".state" / "worktrees" / "nightly-tiny" / "data" / "tiny" / "second").is_dir()
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=servers.root, capture_output=True, check=True)
    assert changed.stdout == b""
    schema = servers.deployment("nightly")["parameter_openapi_schema"]["properties"]
    assert set(schema) == {"profile", "from_step", "to_step", "force"}


def test_a_wrong_parameter_says_what_to_mend(servers):
    with pytest.raises(httpx.HTTPStatusError, match="409") as refused:
        servers.run("nightly", from_step="nix")
    assert "'nix' is not one of [None, 'first', 'second', 'third']" in refused.value.response.text
    with pytest.raises(httpx.HTTPStatusError, match=r"409|422"):
        servers.run("nightly", force="third")  # no list


def test_a_scheduled_tick_runs_by_itself(servers):
    deployment = servers.deployment("every-minute")
    (schedule,) = deployment["schedules"]
    path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
    with servers.prefect as client:
        client.patch(path, json={"active": True}).raise_for_status()
    chosen = {
        "deployments": {"id": {"any_": [deployment["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    try:
        until(lambda: bool(servers.ask("/flow_runs/filter", chosen)), 240, servers.logs)
    finally:
        with servers.prefect as client:
            client.patch(path, json={"active": False}).raise_for_status()
    (run, *_) = servers.ask("/flow_runs/filter", chosen)
    assert run["auto_scheduled"]
    until(lambda: servers.at_work() == [], 60, lambda: f"{servers.at_work()}")


def test_a_second_run_beside_the_first_is_cancelled_and_a_cancelled_one_leaves_no_process(servers):
    gate, begun = servers.hold("third"), servers.count("began", "third")
    run = servers.run("nightly", from_step="third", force=["third"])
    servers.wait_begun(run, "third", begun + 1)
    second = servers.run("nightly")
    servers.wait_state(second, "CANCELLED", 60)
    assert servers.at_work()
    servers.ask(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
    servers.wait_state(run, "CANCELLED", 60)
    until(lambda: servers.at_work() == [], 60, lambda: f"{[p.cmdline() for p in servers.at_work()]}")
    gate.unlink()


def test_a_run_whose_worker_is_killed_has_crashed_and_the_next_one_finishes_the_work_once(servers):
    gate, begun, ended = servers.hold("third"), servers.count("began", "third"), servers.count("ended", "third")
    run = servers.run("nightly", force=["third"])
    servers.wait_begun(run, "third", begun + 1)
    for process in servers.below("worker"):  # power loss: nobody can say anything
        process.kill()
    took = servers.wait_state(run, "CRASHED", CRASHED_SECONDS)
    print(f"crashed after {took:.0f} s")
    assert "ended by itself" in servers.call("status", code=1)
    gate.unlink()
    servers.call("up")
    again = servers.run("nightly", force=["third"])
    servers.wait_state(again, "COMPLETED", 120)
    assert servers.count("ended", "third") == ended + 1


def test_a_run_whose_worker_alone_is_killed_goes_on_to_its_end(servers):
    """The pipe that carries its lines to the worker breaks in the middle of a step."""
    gate, begun, ended = servers.hold("second"), servers.count("began", "second"), servers.count("ended", "third")
    run = servers.run("nightly", force=["second", "third"])
    servers.wait_begun(run, "second", begun + 1)
    os.kill(pids(servers)["worker"], signal.SIGKILL)
    gate.unlink()
    servers.wait_state(run, "COMPLETED", 120)
    assert (servers.count("began", "second"), servers.count("ended", "third")) == (begun + 1, ended + 1)
    until(lambda: servers.at_work() == [], 60, lambda: f"{servers.at_work()}")
    servers.call("up")


def test_a_run_that_is_lost_before_it_begins_has_crashed(servers):
    """As a worker leaves it that is killed between its taking the run and the flow's first word."""
    identity = servers.deployment("nightly")["id"]
    run = servers.ask(f"/deployments/{identity}/create_flow_run", {"state": {"type": "PENDING"}})["id"]
    took = servers.wait_state(run, "CRASHED", START_SECONDS + 60)
    print(f"crashed after {took:.0f} s")
    assert servers.state(run)[1] == f"the flow did not begin within {START_SECONDS} s"
    again = servers.run("nightly", to_step="first")
    servers.wait_state(again, "COMPLETED", 120)  # its place is free


def test_what_a_person_changed_in_the_page_stays(servers):
    deployment = servers.deployment("verify")
    (schedule,) = deployment["schedules"]
    with servers.prefect as client:
        client.patch(
            f"/deployments/{deployment['id']}/schedules/{schedule['id']}",
            json={"active": False, "schedule": {"cron": "7 7 * * *", "timezone": "UTC"}},
        ).raise_for_status()
    before = pids(servers)
    (servers.root / "flows" / "terminal.py").open("a").write("\n# changed\n")  # so everything is deployed again
    assert "prefect.yaml and the flows changed; Prefect has them now" in servers.call("up")
    assert pids(servers) == before
    (schedule,) = servers.deployment("verify")["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"]) == (False, "7 7 * * *")
    (nightly,) = servers.deployment("nightly")["schedules"]
    assert (nightly["active"], nightly["schedule"]["cron"]) == (True, "0 3 * * *")
    assert len(servers.ask("/automations/filter")) == 2
    git(servers.root, "checkout", "-q", "flows/terminal.py")


def test_a_flow_that_a_person_starts_uses_the_server(servers):
    command = [sys.executable, "-m", "flows.pipeline", "--server", servers.settings.prefect_api, "--no-parent-run"]
    by_hand = {"flow_runs": {"deployment_id": {"is_null_": True}}}
    before = len(servers.ask("/flow_runs/filter", by_hand))
    done = subprocess.run(
        [*command, "--to", "first"], cwd=servers.root, env=servers.env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(servers.ask("/flow_runs/filter", by_hand)) == before + 1


def test_a_killed_server_is_started_again_and_what_it_left_is_gone(servers):
    former = pids(servers)["mlflow"]
    os.kill(former, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(former) or psutil.Process(former).status() == "zombie", 10, lambda: "it lives")
    left = servers.below("mlflow")
    servers.call("up")
    assert pids(servers)["mlflow"] != former
    assert not any(process.is_running() and process.status() != "zombie" for process in left)
    assert servers.call("status").count(" running ") == 3


def test_down_ends_a_run_at_work_and_all_the_rest(servers):
    gate, begun = servers.hold("third"), servers.count("began", "third")
    run = servers.run("nightly", force=["third"])
    servers.wait_begun(run, "third", begun + 1)
    os.kill(pids(servers)["prefect"], signal.SIGKILL)  # and one of them is dead already
    started = time.monotonic()
    servers.call("down")
    print(f"down took {time.monotonic() - started:.0f} s")
    for service in ("worker", "prefect", "mlflow"):
        assert servers.below(service) == []
    gate.unlink()
    assert "nothing runs" in servers.call("down")
    for port in (urlsplit(servers.settings.mlflow).port, urlsplit(servers.settings.prefect).port):
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/")
