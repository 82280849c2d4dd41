"""What deploy/compose.yaml starts, without containers: its commands, environments, configurations and health checks.

Names of containers become 127.0.0.1, but for the one by which MLflow's server alone knows S3; published ports become
free ones, paths in containers paths below a folder. PostgreSQL is the one of ``tinygptv team up``, with the roles and
databases that compose.yaml makes.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.services.clones import FOREIGN, ROOT
from tests.services.others import KNOCK, another_user
from tests.services.servers import make_project, until
from tinygptv.ground.servers import HOST, USER
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.team import s3, settings, stack

pytestmark = pytest.mark.services
COMPOSE = read_yaml(ROOT / "deploy" / "compose.yaml")
PORTS = ("5432", "8333", "5000", "4200", "8080")
NAMES = "|".join(COMPOSE["services"])
START_SECONDS = 180.0
STOP_SECONDS = 10.0
"""What Docker grants."""
RESOLVER = f"""
import socket

asked = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: asked("{HOST}" if host == "seaweedfs" else host, *more, **named)
"""
"""Makes a name of the network known to the services inside, and to nobody else."""


@dataclass(frozen=True)
class Composed:
    """The services of compose.yaml on this machine."""

    folder: Path
    secrets: dict[str, str]
    """Of deploy/env.example, filled in."""
    ports: dict[str, int]
    """Port in compose.yaml → port here."""
    inner: dict[str, int]
    """SeaweedFS's others."""

    def here(self, text: str) -> str:
        """A text of compose.yaml as it is right here."""
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: self.secrets[found[1]], text)
        text = re.sub(rf"(?<=//|.@)({NAMES})(?=:\d{{4}}(?!\w))|(?<==)({NAMES})$|0\.0\.0\.0", HOST, text)
        for port, mine in self.ports.items():
            text = re.sub(rf"(?<![\w.]){port}(?!\w)", str(mine), text)
        paths = {"/checkout": self.project, "/data": self.folder / "s3", "/tmp/prefect": self.folder / "prefect"}
        paths["/inner"] = self.folder / "inner"
        paths |= {f"/etc/{name}": self.folder / "etc" / name for name in ("mlflow/users.ini", "seaweedfs/s3.json")}
        for path, mine in paths.items():
            text = re.sub(rf"(?<![\w.]){re.escape(path)}(?!\w)", str(mine), text)
        return text.replace("/usr/local/bin/python", sys.executable)

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def url(self, port: str) -> str:
        return f"http://{HOST}:{self.ports[port]}"

    def environment(self, name: str) -> dict[str, str]:
        """What the service's process sees."""
        given = {key: self.here(str(value)) for key, value in COMPOSE["services"][name].get("environment", {}).items()}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_SITE_CACHE_DIR": str(self.folder / "site")}
        if "MLFLOW_S3_ENDPOINT_URL" in given:
            given["MLFLOW_S3_ENDPOINT_URL"] = f"http://seaweedfs:{self.ports['8333']}"
            own["PYTHONPATH"] = f"{self.folder / 'names'}:{ROOT}"
        own |= {"PREFECT_WORKER_WEBSERVER_PORT": str(self.ports["8080"]), "TEST_MARKS": str(self.folder / "marks")}
        return kept | own | given

    def place(self, name: str) -> None:
        """Write the configurations of a service where its container would see them."""
        for entry in COMPOSE["services"][name].get("configs", ()):
            path = self.folder / "etc" / entry["target"].removeprefix("/etc/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.here(COMPOSE["configs"][entry["source"]]["content"]))

    @contextmanager
    def runs(self, name: str, *more: str) -> Iterator[None]:
        """Start a service and wait until its own health check is content."""
        service = COMPOSE["services"][name]
        self.place(name)
        program = [str(s3.program())] if name == "seaweedfs" else []  # what that image starts by itself
        command = [*program, *(self.here(word) for word in service["command"]), *more]
        cwd = self.here(service.get("working_dir", str(self.folder)))
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd=cwd, env=self.environment(name), stdout=output, stderr=output)
        try:
            until(lambda: self.healthy(name) or process.poll() is not None, START_SECONDS, log.read_text)
            assert process.poll() is None, log.read_text()
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:  # Prefect's worker waits for flows at the first signal, without an end
                process.kill()
                process.wait()

    def healthy(self, name: str) -> bool:
        """Whether the health check of a service says so."""
        kind, *words = COMPOSE["services"][name]["healthcheck"]["test"]
        assert kind == "CMD"
        command = [self.here(word) for word in words]
        if command[0] == "wget":  # is in that image, and may be missing here
            try:
                return httpx.get(command[-1], timeout=4).is_success
            except httpx.TransportError:
                return False
        done = subprocess.run(command, env=self.environment(name), capture_output=True, check=False)
        return done.returncode == 0


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    """All services, in the order of their dependencies."""
    folder = Path(tempfile.mkdtemp(prefix="compose-"))
    folder.chmod(0o711)  # root's PostgreSQL is another user
    names = re.findall(r"^(\w+)=", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE)
    ports = dict(zip(PORTS, s3.free_ports(len(PORTS)), strict=True))
    with ExitStack() as held:
        held.callback(shutil.rmtree, folder)
        chosen = settings.make(
            folder, {settings.POSTGRES_VARIABLE: str(ports["5432"]), settings.S3_VARIABLE: str(ports["8333"])}
        )
        made = Composed(
            folder,
            {name: secrets.token_hex(24) for name in names} | {"POSTGRES_PASSWORD": chosen.postgres_password},
            ports,
            dict(zip(s3.INNER, s3.free_ports(len(s3.INNER)), strict=True)),
        )
        make_project(folder)
        (folder / "names").mkdir()
        (folder / "names" / "sitecustomize.py").write_text(RESOLVER)
        store, _ = stack.stores(chosen, os.environ)
        held.callback(store.end)
        store.begin()
        make_databases(made)
        held.callback(lambda: [path.unlink(missing_ok=True) for path in s3.sockets(made.inner)])
        words = [f"-{name.replace('_', '.port.')}={port}" for name, port in made.inner.items() if "_" in name]
        words += [f"-{name}.port={port}" for name, port in made.inner.items() if "_" not in name]
        for name in ("s3", "marks", "inner"):
            (folder / name).mkdir()
        once(made, "certificate")
        held.enter_context(made.runs("seaweedfs", *words, "-filer.localSocket=f.sock", "-s3.localSocket=s.sock"))
        once(made, "buckets")
        for name in ("mlflow", "prefect", "worker"):
            held.enter_context(made.runs(name))
        yield made


def once(made: Composed, name: str) -> None:
    """Run a service that ends by itself."""
    command = [made.here(word) for word in COMPOSE["services"][name]["command"]]
    subprocess.run(command, env=made.environment(name), check=True)


def make_databases(made: Composed) -> None:
    """Those of compose.yaml, in place of those that ``tinygptv team up`` makes."""
    import psycopg2

    where = {"host": HOST, "port": made.ports["5432"], "dbname": "postgres"}
    with closing(psycopg2.connect(user=USER, password=made.secrets["POSTGRES_PASSWORD"], **where)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name in settings.DATABASES:
                cursor.execute(f"DROP DATABASE {name}")
                cursor.execute(f"DROP ROLE {name}")
            for statement in made.here(COMPOSE["configs"]["databases"]["content"]).split(";\n"):
                cursor.execute(statement) if statement.strip() else None


def test_mlflow_wants_a_password_and_its_own_name(composed):
    url = f"{composed.url('5000')}/api/2.0/mlflow/experiments/search"
    ask: dict[str, Any] = {"json": {"max_results": 1}, "timeout": 30}
    admin = (USER, composed.secrets["MLFLOW_ADMIN_PASSWORD"])
    assert httpx.post(url, **ask).status_code == 401
    assert httpx.post(url, auth=admin, **ask).status_code == 200
    port = composed.ports["5000"]
    assert httpx.post(url, auth=admin, headers={"Host": f"mlflow:{port}"}, **ask).status_code == 200
    assert httpx.post(url, auth=admin, headers={"Host": f"attacker.example:{port}"}, **ask).status_code == 403


KEPT = """
import sys, mlflow

client = mlflow.MlflowClient()
run = client.create_run("0").info.run_id
client.log_artifact(run, sys.argv[1])
client.download_artifacts(run, "note.txt", sys.argv[2])
print(run)
"""


@pytest.mark.parametrize("least", [None, "1"], ids=["small", "large"])
def test_mlflow_keeps_files_in_s3_and_gives_them_back(composed, tmp_path, least):
    """Through its server alone: where the client runs nobody knows the S3 server by the name in compose.yaml."""
    (tmp_path / "note.txt").write_text("kept")
    (tmp_path / "back").mkdir()
    bound = {} if least is None else {"MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": least}
    done = subprocess.run(
        [sys.executable, "-c", KEPT, str(tmp_path / "note.txt"), str(tmp_path / "back")],
        env=composed.environment("worker") | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"} | bound,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back" / "note.txt").read_text() == "kept"
    key = {"key": composed.secrets["S3_MLFLOW_KEY"], "secret": composed.secrets["S3_MLFLOW_SECRET"]}
    listed = s3.client(composed.url("8333"), key).list_objects_v2(Bucket=settings.ARTIFACTS)["Contents"]
    assert [entry["Key"].split("/")[-1] for entry in listed if done.stdout.split()[-1] in entry["Key"]] == ["note.txt"]


def test_inner_ports_want_the_certificate(composed):
    said = another_user(KNOCK, [str(port) for port in composed.inner.values()])
    assert said and [line for line in said if "200 OK" in line or "\\x00\\x00" in line] == []


def test_prefect_wants_a_password_and_its_own_name(composed):
    url = f"{composed.url('4200')}/api/deployments/filter"
    user = (USER, composed.secrets["PREFECT_PASSWORD"])
    assert httpx.post(url, json={}, timeout=30).status_code == 401
    for name, code in (("prefect", 200), ("localhost", 200), ("attacker.example", 400)):
        headers = {"Host": f"{name}:{composed.ports['4200']}"}
        assert httpx.post(url, json={}, auth=user, headers=headers, timeout=30).status_code == code, name


def test_the_worker_runs_what_is_deployed(composed):
    user = (USER, composed.secrets["PREFECT_PASSWORD"])
    with httpx.Client(base_url=f"{composed.url('4200')}/api", auth=user, timeout=30) as prefect:
        deployments = {entry["name"]: entry["id"] for entry in prefect.post("/deployments/filter", json={}).json()}
        assert {"nightly", "verify", "evaluate-champion", "promote"} <= set(deployments)
        body = {"parameters": {"to_step": "first"}, "state": {"type": "SCHEDULED"}}
        run = prefect.post(f"/deployments/{deployments['nightly']}/create_flow_run", json=body).json()["id"]

        def state() -> dict[str, Any]:
            return dict(prefect.get(f"/flow_runs/{run}").json()["state"])

        until(lambda: state()["type"] in ("COMPLETED", "FAILED", "CRASHED"), 120, lambda: str(state()))
        assert (state()["type"], state()["message"]) == ("COMPLETED", "1 steps"), state()
