"""The documentation as a site, built as by ``make docs``: whole, strict, and nothing of it from another server."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.pipeline


def build(checkout, site):
    command = [sys.executable, "-m", "mkdocs", "build", "-d", site]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    done = build(ROOT, place)
    assert done.returncode == 0, done.stderr
    return place


def test_pages_ask_no_other_server_for_anything(site):
    asked = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^\s\">]+|@import|url\(http")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    assert {page.name: found for page in pages if (found := asked.findall(page.read_text()))} == {}


def test_the_site_has_its_parts(site):
    assert (site / "search" / "search_index.json").stat().st_size > 100_000
    llms = (site / "llms.txt").read_text()
    named = re.findall(r"^- \[.+\]\((\S+)\)$", llms, re.MULTILINE)
    assert len(named) > 50 and all((site / name).is_file() for name in named)
    python = (site / "python.html").read_text()
    assert 'id="tinygptv.load"' in python and 'id="tinygptv.model.inference.VisionLanguageModel.answer"' in python
    assert 'href="../tasks/serve.html"' in (site / "commands" / "serve.html").read_text()
    assert 'data-md-color-scheme="slate"' in (site / "index.html").read_text()


@pytest.mark.parametrize(
    "lines",
    [
        {
            "[a](nowhere.md)": "'nowhere.md'",
            "[a](disk.md#nowhere)": "'#nowhere'",
            "[a][tinygptv.none]": "'tinygptv.none'",
        },
        {"::: tinygptv.nowhere": "tinygptv.nowhere"},
    ],
)
def test_what_leads_nowhere_fails(tmp_path, lines):
    checkout = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(checkout)], check=True)
    (checkout / "docs" / "python.md").write_text("\n\n".join(["# In Python", *lines]))
    done = build(checkout, tmp_path / "site")
    assert done.returncode == 1
    assert [told for told in lines.values() if told not in done.stdout + done.stderr] == []
