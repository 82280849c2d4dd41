"""What the site needs before it is built; ``tests/pipeline/test_site.py`` builds it."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from mkdocs.structure.files import File, Files

from scripts import site_hooks
from tests.documents import PAGES

ROOT = Path(__file__).parents[2]


class Loader(yaml.SafeLoader):
    """Of mkdocs.yml, whose functions are of no interest here."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


@pytest.fixture
def config():
    """Of ``mkdocs.yml`` what the hooks read."""
    written = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    return SimpleNamespace(**written | {"site_dir": "/nowhere", "plugins": SimpleNamespace(_current_plugin="hooks")})


def leaves(nav):
    if isinstance(nav, dict):
        nav = nav.values()
    return [nav] if isinstance(nav, str) else [leaf for inner in nav for leaf in leaves(inner)]


def test_the_navigation_names_every_page_once(config):
    named = Counter(leaves(site_hooks.on_config(config).nav))
    pages = [page.removeprefix("docs/") for page in PAGES if "/" in page]
    assert named == Counter([*pages, *site_hooks.ALSO.values()])
    assert next(name for name in named if name.startswith("commands/")) == "commands/index.md"


def test_the_navigation_has_a_place_for_each_purpose(config):
    assert [next(iter(group)) for group in config.nav] == ["Start", "Tasks", "Reference", "How it works"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A small repository with pages inside and outside ``docs``."""
    for name, text in {
        "docs/a.md": "# A\n\n[b](deep/b.md#x) [c](../CONTRIBUTING.md) ![p](../reports/p.png) [s](../src/s.py)\n",
        "docs/deep/b.md": "# B\n\n`docs/a.md`, `docs/none.md`, [`docs/a.md`](../a.md), [out](https://x.org/y.md)\n",
        "CONTRIBUTING.md": "# C\n\n[a](docs/a.md#a), [more](notes/d.md)\n\n    [a](docs/a.md)\n",
        "notes/d.md": "# D\n",
        "CHANGELOG.md": "# L\n",
        "README.md": "# R\n",
        "notebooks/tour.py": "# ---\n# x: y\n# ---\n\n# %% [markdown]\n# # T\n#\n# text\n\n# %%\nx = 1  # %\n",
        "src/s.py": "x = 1\n",
        "reports/p.png": "a picture",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(site_hooks, "ROOT", tmp_path)
    monkeypatch.setattr(site_hooks, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(site_hooks, "sources", {})
    return tmp_path


def built(config, place):
    """Name of each page in the site → its Markdown there."""
    here = [File(name, str(place / "docs"), "/nowhere", use_directory_urls=False) for name in ("a.md", "deep/b.md")]
    files = site_hooks.on_files(Files(here), config)
    return {
        file.src_uri: site_hooks.on_page_markdown(file.content_string, SimpleNamespace(file=file), config, files)
        for file in files.documentation_pages()
    } | {file.src_uri: file.abs_src_path for file in files.media_files()}


def test_links_lead_to_where_their_files_are_in_the_site(config, place):
    pages = built(config, place)
    assert pages["a.md"].endswith("[b](deep/b.md#x) [c](contributing.md) ![p](reports/p.png) [s](src/s.py.md)\n")
    assert pages["contributing.md"] == "# C\n\n[a](a.md#a), [more](notes/d.md)\n\n    [a](docs/a.md)\n"
    assert pages["src/s.py.md"] == "# `src/s.py`\n\n```py\nx = 1\n```\n"
    assert pages["tour.md"] == "# T\n\ntext\n\n```python\nx = 1  # %\n```\n"
    assert pages["reports/p.png"] == str(place / "reports" / "p.png")
    assert {"notes/d.md", "changelog.md", "readme.md"} <= pages.keys()


def test_the_name_of_a_page_is_a_link_but_where_it_is_one_or_there_is_none(config, place):
    shown = "[`docs/a.md`](../a.md), `docs/none.md`, [`docs/a.md`](../a.md), [out](https://x.org/y.md)"
    assert built(config, place)["deep/b.md"] == f"# B\n\n{shown}\n"


def test_a_bar_in_a_cell_has_no_backslash(config, place):
    (place / "docs" / "deep" / "b.md").write_text("| a |\n|---|\n| `<x\\|y>` |\n")
    assert built(config, place)["deep/b.md"] == "| a |\n|---|\n| <code>&lt;x&#124;y&gt;</code> |\n"


def test_a_list_for_language_models(config, tmp_path, monkeypatch):
    config.site_dir = str(tmp_path)
    pages = [
        SimpleNamespace(title=name, markdown=f"# {name}\n", file=SimpleNamespace(src_uri=f"{name}.md"), ancestors=[top])
        for name, top in [("a", SimpleNamespace(title="Start")), ("b", SimpleNamespace(title="Tasks"))]
    ]
    site_hooks.on_nav(SimpleNamespace(pages=pages), config, Files([]))
    site_hooks.on_post_build(config)
    title, _, summary, *lines = (tmp_path / "llms.txt").read_text().splitlines()
    assert title == f"# {config.site_name}" and summary == f"> {config.site_description}"
    assert lines == ["", "## Start", "", "- [a](a.md)", "", "## Tasks", "", "- [b](b.md)"]
    assert (tmp_path / "b.md").read_text() == "# b\n"
