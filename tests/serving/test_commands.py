"""``tinygptv serve`` and ``web``: what is wrong is one line, before anything is loaded."""

from __future__ import annotations

import socket

import pytest
import typer

from tinygptv.commands import serving
from tinygptv.ground.errors import UserError


def run(*arguments: str) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    serving.add_to(app)
    app(args=list(arguments), standalone_mode=False)


@pytest.mark.parametrize("command", ["serve", "web"])
def test_a_taken_port_is_named(command, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: name)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used") as caught:
            run(command, str(tmp_path / "no-model"), "--port", str(port))
    assert "\n" not in str(caught.value)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(UserError, match="no-model is not a folder"):
        run("serve", str(tmp_path / "no-model"), "--port", "0")


def test_a_registry_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    for source in ("models:/m@champion", "models:/m/1"):
        with pytest.raises(UserError, match=r"none\.db does not exist"):
            run("serve", source, "--port", "0")
    with pytest.raises(UserError, match="an address is models:/"):
        run("serve", "models:/m", "--port", "0")
    assert not (tmp_path / "none.db").exists()


def test_the_page_says_how_to_install_what_it_needs(monkeypatch):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="web"):
        run("web")
