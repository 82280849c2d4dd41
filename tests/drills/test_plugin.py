"""The table of the drills: what it adds up, and when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

@pytest.mark.drill(1, "several", trials=2)
@pytest.mark.parametrize("case", [1, 2, 3])
def test_added(case):
    pass

@pytest.mark.drill(5, "counted")
def test_counted(trials):
    trials.count = 40
    trials.count += 2

@pytest.mark.drill(7, "one of two")
@pytest.mark.parametrize("case", [1, 2])
def test_broken(case):
    assert case == 1

@pytest.fixture
def bad_end():
    yield
    raise RuntimeError

@pytest.mark.drill(8, "fails at its end")
def test_teardown(bad_end):
    pass

@pytest.mark.drill(12, "not here")
def test_skipped():
    pytest.skip("why")

def test_tied_to_none():
    pass
"""

PLAY = """
import sys, pytest
from tinygptv.ground import runtime
runtime.environment = lambda: {"torch": "2"}  # the real one imports torch, which takes seconds
sys.exit(pytest.main(sys.argv[1:]))
"""


def play(tmp_path: Path, tests: str) -> tuple[int, str, dict]:
    (tmp_path / "test_them.py").write_text(tests)
    report = tmp_path / "reports" / "drills.json"
    options = ["-q", "-p", "tests.drills.plugin", "--rootdir", tmp_path, "-c", "/dev/null", "--drill-report", report]
    done = subprocess.run(
        [sys.executable, "-c", PLAY, *map(str, options), str(tmp_path / "test_them.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    content = json.loads(report.read_bytes()) if report.exists() else {}
    return done.returncode, done.stdout + done.stderr, content


def test_the_table_adds_up_and_tells_what_failed(tmp_path):
    code, output, content = play(tmp_path, TESTS)
    assert code == 1
    by_number = {row["drill"]: (row["what"], row["trials"], row["result"]) for row in content["drills"]}
    assert by_number.pop(1) == ("several", 6, "pass")
    assert by_number.pop(5) == ("counted", 42, "pass")
    assert by_number.pop(7) == ("one of two", 2, "FAIL")
    assert by_number.pop(8) == ("fails at its end", 1, "FAIL")
    assert by_number.pop(12) == ("not here", 1, "skipped")
    assert set(by_number.values()) == {("", 0, "no test")}
    assert content["environment"] == {"torch": "2"}
    for line in (" 5  counted", "one of two", "no test"):
        assert line in output


def test_a_drill_without_a_test_fails_though_every_test_passes(tmp_path):
    code, _, content = play(tmp_path, "import pytest\n@pytest.mark.drill(3, 'x')\ndef test_x(): pass\n")
    assert code == 1
    assert [row["drill"] for row in content["drills"] if row["result"] == "pass"] == [3]


def test_an_unknown_drill_is_an_error(tmp_path):
    code, output, _ = play(tmp_path, "import pytest\n@pytest.mark.drill(99, 'x')\ndef test_x(): pass\n")
    assert code not in (0, 1)
    assert "an unknown drill" in output
