"""A tracking address with user and password: both are used, and shown, logged and stored nowhere."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinygptv.tracking import pages, rest
from tinygptv.tracking.client import credentials, tracking_uri

USER, TOKEN = "canary-user", "canary/t0ken"
SECRETS = (USER, TOKEN, "canary%2Ft0ken", "t0ken")
STEP = """
import sys
from pathlib import Path
from tinygptv.config import Config, Runtime, Shards
from tinygptv.config.profiles import Profile
from tinygptv.ground.startup import begin
from tinygptv.steps.harness import find_root
from tinygptv.tracking.runs import StepRun

begin()
root = find_root(Path.cwd())
config = Config.model_construct(
    shards=Shards(images_per_shard=16, max_rejected=0.0),
    runtime=Runtime(device="cpu", dtype="float32", threads=1, deterministic=True),
)
spool = root / ".state/tiny/spool"
with StepRun(step="shards", profile=Profile("tiny", 7, config), root=root, spool_folder=spool) as run:
    run.metrics({"loss": 1.0})
    if len(sys.argv) > 1:
        raise OSError(f"the library says: {sys.argv[1]} refused")
print(run.url)
"""


class _Answers(BaseHTTPRequestHandler):
    """As much of MLflow as a step's run needs, for whoever knows the password."""

    def do_GET(self) -> None:
        self._answer({"experiment": {"experiment_id": "1", "name": "tinygptv/tiny", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        self.server.seen.append((self.path, body))
        info = {"run_id": "f" * 32, "run_uuid": "f" * 32, "experiment_id": "1", "status": "RUNNING"}
        run = {"run": {"info": info, "data": {}}, "run_info": info}
        self._answer({"runs": []} if self.path.endswith("search") else run)

    do_PATCH = do_POST

    def _answer(self, content: object) -> None:
        known = f"Basic {base64.b64encode(f'{USER}:{TOKEN}'.encode()).decode()}"
        allowed = self.headers.get("Authorization") == known
        body = json.dumps(content if allowed else {"error_code": "UNAUTHENTICATED", "message": "who?"}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A server that asks for user and password; ``seen`` has what was posted."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of the checkout with a graph, a lock and one commit, whose origin holds a token."""
    copy = tmp_path / "checkout"
    subprocess.run(["git", "clone", "-q", str(root), str(copy)], check=True)
    for name in ("dvc.lock", "params.yaml"):
        (copy / name).write_bytes((root / name).read_bytes())
    origin = f"https://{USER}:canary%2Ft0ken@github.com/a/b.git"
    subprocess.run(["git", "remote", "set-url", "origin", origin], cwd=copy, check=True)
    return copy


def run(checkout: Path, address: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A command that records there; nothing that it says or leaves may hold the secrets."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env=env | {"MLFLOW_TRACKING_URI": address},
        capture_output=True,
        text=True,
        check=False,
    )
    left = [path for path in checkout.rglob("*") if path.is_file() and ".git" not in path.relative_to(checkout).parts]
    for name, content in [("stdout", done.stdout), ("stderr", done.stderr), *((p.name, p.read_text()) for p in left)]:
        assert not [secret for secret in SECRETS if secret in content], f"{name}: {content}"
    return done


def with_user(port: int) -> str:
    return f"http://{USER}:canary%2Ft0ken@127.0.0.1:{port}"


def test_a_server_that_wants_a_password_gets_it_and_no_record_has_it(server, checkout):
    address = with_user(server.server_port)
    done = run(checkout, address, "-c", STEP)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == f"{pages.of_run(f'http://127.0.0.1:{server.server_port}', '1', 'f' * 32)}\n"
    assert {"/api/2.0/mlflow/runs/create", "/api/2.0/mlflow/runs/log-batch"} <= {path for path, _ in server.seen}
    failed = run(checkout, address, "-c", STEP, address)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].endswith(f"http://127.0.0.1:{server.server_port} refused")
    assert not [body for _, body in server.seen if any(secret in body for secret in SECRETS)]
    assert any("the library says: http://127" in body for _, body in server.seen)  # the tag with the error


def test_a_server_that_is_down_is_named_without_its_user(checkout):
    address = with_user(9)
    done = run(checkout, address, "-c", STEP)
    assert done.returncode == 0
    assert done.stderr.startswith("tracking: http://127.0.0.1:9 did not take the records (")
    unescaped = address.replace("%2F", "/")
    done = run(checkout, unescaped, "-m", "tinygptv.tracking", "ship")
    assert done.returncode != 0
    assert done.stderr.startswith("tracking: MLflow at http://127.0.0.1:9: ") and done.stderr.count("\n") == 1


def test_a_wrong_password_is_not_repeated(server, checkout):
    address = f"http://{USER}:t0ken-wrong@127.0.0.1:{server.server_port}"
    done = run(checkout, address, "-m", "tinygptv.cli", "lineage", "models:/tinygptv@champion")
    assert f"MLflow at http://127.0.0.1:{server.server_port}" in done.stderr and done.stderr.count("\n") == 1


def test_a_database_that_does_not_open_is_named_without_its_password(checkout):
    done = run(checkout, f"nodatabase://{USER}:canary%2Ft0ken@127.0.0.1:9/db", "-m", "tinygptv.tracking", "ship")
    assert done.returncode != 0
    assert done.stderr.startswith("tracking: MLflow at nodatabase://127.0.0.1:9/db: ")


def test_user_and_password_go_where_mlflow_and_the_flow_look_for_them(monkeypatch, tmp_path):
    env = {"MLFLOW_TRACKING_URI": with_user(1), "MLFLOW_TRACKING_USERNAME": "other"}
    assert credentials(env) == {
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": TOKEN,
    }
    assert rest.login(env) == {"Authorization": f"Basic {base64.b64encode(f'{USER}:{TOKEN}'.encode()).decode()}"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", with_user(1))
    assert tracking_uri(tmp_path) == "http://127.0.0.1:1"
    kept = {"MLFLOW_TRACKING_URI": "http://h", "MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}
    assert {**kept, **credentials(kept)} == kept
    assert credentials({"MLFLOW_TRACKING_URI": "postgresql://u:p@h/db"}) == {}  # its driver needs it whole
