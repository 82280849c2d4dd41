from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tinygptv.cli import main
from tinygptv.ground import servers
from tinygptv.services import processes, stack
from tinygptv.services.status import ENDED, RUNNING, SILENT, STOPPED, look

PARENT = """\
import subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    for name in (servers.MLFLOW_VARIABLE, servers.PREFECT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a child in a session of its own that does not listen to SIGTERM."""
    log = tmp_path / "log"
    process = processes.start(
        [sys.executable, "-c", PARENT], f"{tmp_path}/one", tmp_path / "one.json", log, os.environ, tmp_path
    )
    assert processes.wait_for(lambda: b"ready" in log.read_bytes(), 30)
    yield process
    for left in processes.marked(f"{tmp_path}/one"):
        left.kill()
    process.wait()


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "killed before"])
def test_nothing_is_left_of_a_process_and_what_it_started(started, tmp_path, killed):
    record, mark = tmp_path / "one.json", f"{tmp_path}/one"
    assert processes.known(record).lives()
    assert os.getsid(started.pid) == started.pid  # Ctrl-C in the terminal does not reach it
    assert len(processes.marked(mark)) == 2
    assert processes.marked(f"{tmp_path}/other") == []
    if killed:
        os.kill(started.pid, signal.SIGKILL)
        assert processes.wait_for(lambda: not processes.known(record).lives(), 10)  # though nobody has collected it
    assert processes.end(record, mark, (1.0, 0.3)) == 2 - killed
    assert processes.marked(mark) == []
    assert not record.exists()
    assert processes.end(record, mark, (1.0, 0.3)) == 0


def test_a_number_that_is_used_again_is_another_process():
    own = psutil.Process()
    assert processes.Known(own.pid, own.create_time()).lives()
    assert not processes.Known(own.pid, own.create_time() - 60).lives()
    assert not processes.Known(2**22 + 1, time.time()).lives()


def test_what_became_of_a_service(checkout, monkeypatch):
    with socket.socket() as silent:  # it listens, and never says anything
        silent.bind((servers.HOST, 0))
        silent.listen()
        chosen = servers.make(checkout, {"TINYGPTV_MLFLOW_PORT": str(silent.getsockname()[1])})
        mlflow, _, worker = stack.services(chosen, {})
        monkeypatch.setattr("tinygptv.services.status.ANSWER_SECONDS", 0.2)
        assert look(mlflow).state == STOPPED
        own = psutil.Process()
        for service in (mlflow, worker):
            service.record.write_text(f'{{"pid": {own.pid}, "started": {own.create_time()}}}')
        assert (look(mlflow).state, look(mlflow).pid) == (SILENT, own.pid)
        assert look(worker).state == RUNNING  # it has no address
        worker.record.write_text(f'{{"pid": {own.pid}, "started": 1}}')
        assert (look(worker).state, look(worker).pid) == (ENDED, None)


def test_commands_where_nothing_runs(checkout, capsys):
    assert main(["status"]) == 1
    assert "nothing was started here yet" in capsys.readouterr().out
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "nothing runs\n"
    servers.make(checkout, {})
    assert main(["status"]) == 1
    assert capsys.readouterr().out.count("stopped") == 3


def test_a_taken_port_is_one_line(checkout, capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind((servers.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv(servers.MLFLOW_VARIABLE, str(port))
        assert main(["up"]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"tinygptv: port {port} of mlflow is in use; stop what listens there, or set {servers.MLFLOW_VARIABLE}\n"
    )
    assert not list(servers.folder_of(checkout).glob("*.log"))


def test_two_at_once_are_refused(checkout, capsys):
    from tinygptv.services import up

    servers.make(checkout, {})
    with up._only_one(checkout):
        assert main(["up"]) == 2
        assert main(["down"]) == 2
    assert capsys.readouterr().err.count("another `tinygptv up` or `down` is at work here") == 2


def test_the_servers_are_told_to_stay_at_home(tmp_path):
    chosen = servers.make(tmp_path, {})
    foreign = {"MLFLOW_TRACKING_URI": "http://foreign", "PREFECT_API_URL": "http://foreign", "HOME": "/home/user"}
    mlflow, prefect, worker = stack.services(chosen, foreign)
    for service in (mlflow, prefect):
        assert service.command[service.command.index("--host") + 1] == "127.0.0.1"
        assert chosen.auth not in " ".join(service.command)
    assert "MLFLOW_TRACKING_URI" not in mlflow.environment
    assert mlflow.command[mlflow.command.index("--workers") + 1] == "1"
    assert mlflow.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert prefect.environment["PREFECT_SERVER_API_AUTH_STRING"] == chosen.auth
    assert "*" not in prefect.environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
    assert worker.environment["PREFECT_API_URL"] == chosen.prefect_api
    assert worker.environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert "PREFECT_SERVER_API_AUTH_STRING" not in worker.environment
