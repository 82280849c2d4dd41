"""What of an address may be read by anybody, and the doors where texts leave."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from tinygptv.ground.addresses import split_user, without_secrets
from tinygptv.ground.errors import ConfigError, DataError, UserError, brief, complain
from tinygptv.tracking import pages
from tinygptv.tracking.spool import Spool, read_events

ADDRESSES = {
    "https://u5er:t0ken@host/x": "https://host/x",
    "https://t0ken@github.com/a/b.git": "https://github.com/a/b.git",
    "https://u5er:t0/ken@host:5000/x?y=1": "https://host:5000/x?y=1",
    "https://u5er@corp.org:t0%40ken@host": "https://host",
    "https://u5er:t0ken@[::1]:5000/x": "https://[::1]:5000/x",
    "http://u5er:t0ken@host:notaport/x": "http://host:notaport/x",
    "postgresql://u5er:t0ken@h/db": "postgresql://h/db",
    "postgresql+psycopg2://u5er:t0ken@h:5432/db?sslpassword=t0ken": "postgresql+psycopg2://h:5432/db?sslpassword=***",
    "postgresql+asyncpg://u5er:t0/k:en@h/db": "postgresql+asyncpg://h/db",
    "mysql+pymysql://u5er:t0ken@h/db": "mysql+pymysql://h/db",
    "redis://:t0ken@h:6379/0": "redis://h:6379/0",
    "s3://u5er:t0/ke+n@bucket/key": "s3://bucket/key",
    r"https:\/\/u5er:t0ken@host\/x": r"https:\/\/host\/x",
    "https://h/p?token=t0ken&x=1&password=t0ken": "https://h/p?token=***&x=1&password=***",
    "https://h/k?X-Amz-Credential=u5er%2F1&X-Amz-Signature=t0ken&X-Amz-Expires=9": (
        "https://h/k?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Expires=9"
    ),
    "https://h/k?AWSAccessKeyId=u5er&Signature=t0ken": "https://h/k?AWSAccessKeyId=***&Signature=***",
    "https://h/k?X-Amz-Security-Token=t0ken": "https://h/k?X-Amz-Security-Token=***",
    "https://h/k?sv=1&sig=t0ken&key=t0ken": "https://h/k?sv=1&sig=***&key=***",
    "https://h/#access_token=t0ken": "https://h/#access_token=***",
}
TEXTS = {
    "HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /k?sig=t0ken (Caused by x)": "/k?sig=***",
    "Failed to parse: 'u5er:t0ken@host', label empty": "'host'",
    "connection to 'https://u5er:my t0ken@host/x' failed": "'https://host/x'",
    "host=h user=x password=t0ken dbname=y": "password=*** dbname=y",
    "{'Authorization': 'Basic t0ken=='}": "Authorization",
    "Authorization: Bearer t0ken": "Bearer ***",
    '{"password": "t0ken", "x": 1}': '"x": 1',
    "AWS_SECRET_ACCESS_KEY=t0ken HF_TOKEN='t0 ken'": "AWS_SECRET_ACCESS_KEY=*** HF_TOKEN=***",
    "two: https://u5er:t0ken@a/x, https://u5er:t0ken@b/y": "https://a/x, https://b/y",
}
LEFT_ALONE = (
    pages.of_run("http://127.0.0.1:5000", "1", "2"),
    "https://host:5000/users/@me",
    "https://[::1]:5000/x@y",
    "https://github.com/o/r@v1.0",
    "models:/tinygptv@champion",
    "sqlite:////tmp/a@b/mlflow.db",
    "file:///srv/mlartifacts/tiny",
    "git@github.com:org/repo",
    "max_new_tokens=48, image_token=<ImageHere>, 3 tokens",
    "http://h:5000: refused; ask a@b.org",
    "http://h/get-artifact?path=loss.png&run_uuid=1",
)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_shown_without_its_secrets(address):
    shown = without_secrets(address)
    assert shown == ADDRESSES[address]
    assert without_secrets(f"no answer from {address}; try again") == f"no answer from {shown}; try again"


@pytest.mark.parametrize("text", TEXTS)
def test_what_libraries_quote_is_cleaned(text):
    assert TEXTS[text] in without_secrets(text)
    assert not any(secret in without_secrets(text) for secret in ("u5er", "t0ken", "t0 ken"))


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_holds_no_secret_stays(text):
    assert without_secrets(text) == text


def test_a_long_line_is_cleaned_quickly():
    """Lines may hold a picture; the work must grow with the length and not with its square."""
    for piece in ("a+", "a:", "https://", "token", "x@", "https://a:b "):
        assert len(without_secrets(piece * 200_000)) > 200_000


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("https://u5er:t0%2Fken@host:1/x", ("https://host:1/x", "u5er", "t0/ken")),
        ("https://u5er:t0/ken@host/x", ("https://host/x", "u5er", "t0/ken")),
        ("https://u5er@host", ("https://host", "u5er", "")),
        ("https://host:5000/a@b", ("https://host:5000/a@b", "", "")),
        ("", ("", "", "")),
    ],
)
def test_user_and_password_come_apart(address, parts):
    assert split_user(address) == parts


@pytest.mark.parametrize("kind", [UserError, DataError, ConfigError])
def test_an_error_for_a_user_is_one_line_without_secrets(kind, capsys):
    error = kind("a\nb\x1b[31m: https://u5er:t0ken@host/x?token=t0ken")
    assert str(error) == "a\\nb\\x1b[31m: https://host/x?token=***"
    complain("step", error)
    complain("step", "https://u5er:t0ken@host/x\n")
    assert capsys.readouterr().err == f"step: {error}\nstep: https://host/x\\n\n"


def test_a_cut_does_not_uncover_a_secret():
    """Where the cut comes first, it takes the @ by which a user is known."""
    text = f"{'x' * 180} https://u5er:t0kent0kent0kent0ken@host"
    assert "u5er" not in brief(text)


def test_the_spool_holds_no_secret(tmp_path):
    facts = {"step": "shards", "profile": "tiny", "work": "w", "pipeline": None, "flow_run": None, "git_sha": "x"}
    spool = Spool.create(tmp_path, **facts)
    spool.append("tag", name="error", value="OSError: https://u5er:t0ken@host refused")
    spool.append("param", name="url", value="postgresql://u5er:t0ken@h/db")
    spool.close()
    assert [event["value"] for event in read_events(spool.path)[0]] == [
        "OSError: https://host refused",
        "postgresql://h/db",
    ]


PROGRAM = """
import logging
from tinygptv.ground.startup import begin
begin()
begin()
logging.basicConfig(format="%(levelname)s %(message)s")
log = logging.getLogger("library")
log.warning("retry %s of %s", 1, "https://u5er:t0ken@host/x")
log.warning("lost: %s", OSError("https://u5er:t0ken@host/x"))
log.warning("wrong %s %s", "values")
try:
    raise OSError("https://u5er:t0ken@host/x?sig=t0ken")
except OSError as error:
    raise RuntimeError("postgresql://u5er:t0ken@h/db") from error
"""


def test_tracebacks_and_log_lines_of_libraries_hold_no_secret():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[:2] == ["WARNING retry 1 of https://host/x", "WARNING lost: https://host/x"]
    assert "OSError: https://host/x?sig=***" in said and said[-1] == "RuntimeError: postgresql://h/db"
    assert "not all arguments" in done.stderr or "not enough arguments" in done.stderr
    assert "u5er" not in done.stderr and "t0ken" not in done.stderr


BUG = """
import sys
from tinygptv import cli, results

def fail(*arguments):
    raise RuntimeError("no answer from https://u5er:t0ken@host/x")

results.results_table = fail
sys.exit(cli.main(["results"]))
"""


def test_a_bug_in_a_command_shows_its_traceback_without_secrets(tmp_path):
    """typer would put a hook of its own in the place of ours."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("profile: tiny\nseed: 7\n")
    done = subprocess.run([sys.executable, "-c", BUG], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback") and "no answer from https://host/x" in done.stderr
    assert "u5er" not in done.stderr and "t0ken" not in done.stderr


def test_formatters_still_find_the_values_of_a_record():
    """uvicorn's access lines are made of them."""
    from tinygptv.ground.startup import keep_secrets

    keep_secrets()
    record = logging.getLogRecordFactory()("a", 20, "f", 1, '%s "%s"', ("1.2.3.4", "/x?token=t0ken"), None)
    assert record.args == ("1.2.3.4", "/x?token=***")
