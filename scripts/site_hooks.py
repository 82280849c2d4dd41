"""What mkdocs does not do by itself for the site (``mkdocs.yml`` names this file).

Pages link to files as they lie in the repository, so that the links work where the repository is shown, too. Here files
outside ``docs/`` that a page links to become part of the site: pages and pictures as they are, code as a page. At the
end ``llms.txt`` is written (https://llmstxt.org), and the Markdown of each page beside it.
"""

from __future__ import annotations

import os
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.nav import Navigation
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
NAMED = re.compile(r"(?<![\[`])`docs/(\w+(?:/\w+)?\.md)`(?![`\]])")
CODE = re.compile(r"^```.*?^```|(?:^ {4}[^\n]*\n)+", re.MULTILINE | re.DOTALL)
ESCAPED_BAR = r"\|"
SPAN = re.compile(r"`([^`\n]+)`")
COMMANDS = "commands/"
PICTURES = (".png", ".svg")
ALSO = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "readme.md",
    "notebooks/tour.py": "tour.md",
}
"""File outside ``docs/`` → its name in the navigation."""

sources: dict[str, Path] = {}
"""Name of a page in the site → its file, where that lies outside ``docs/``."""
shown: list[tuple[str, Page]] = []
"""Section of the navigation and page, of every page in it, in its order."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the commands where the navigation says ``commands/*.md``, the list of all first."""
    pages = sorted((path.name != "index.md", f"{COMMANDS}{path.name}") for path in (DOCS / COMMANDS).glob("*.md"))
    config.nav = _filled(config.nav, [name for _, name in pages])
    return config


def _filled(nav: object, pages: list[str]) -> object:
    if isinstance(nav, dict):
        return {name: _filled(inner, pages) for name, inner in nav.items()}
    if isinstance(nav, list):
        return [_filled(inner, pages) for inner in nav]
    return pages if nav == f"{COMMANDS}*.md" else nav


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside ``docs/`` and is linked to, and what that links to."""
    waiting = [ROOT / name for name in ALSO]
    waiting += [target for file in files.documentation_pages() for target in _outside(DOCS / file.src_uri)]
    while waiting:
        path = waiting.pop()
        uri = _uri(path)
        if path.is_dir() or files.get_file_from_path(uri) is not None:
            continue
        sources[uri] = path
        if path.suffix in PICTURES:
            files.append(File.generated(config, uri, abs_src_path=str(path)))
            continue
        content = path.read_text()
        if path.suffix == ".md":
            waiting += _outside(path)
        elif uri in ALSO.values():
            content = notebook(content)
        else:
            content = f"# `{path.relative_to(ROOT)}`\n\n```{path.suffix[1:]}\n{content.rstrip()}\n```\n"
        listed = InclusionLevel.INCLUDED if uri in ALSO.values() else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, uri, content=content, inclusion=listed))
    return files


def _outside(page: Path) -> list[Path]:
    targets = [(page.parent / link).resolve() for link, _ in LINK.findall(CODE.sub("", page.read_text()))]
    return [path for path in targets if path.exists() and not path.is_relative_to(DOCS)]


def notebook(text: str) -> str:
    """A notebook in jupytext's percent format as Markdown."""
    _, *cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    parts = []
    for cell in cells:
        kind, _, content = cell.partition("\n")
        if kind.strip() == "[markdown]":
            parts.append(re.sub(r"^# ?", "", content.strip(), flags=re.MULTILINE))
        else:
            parts.append(f"```python\n{content.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _uri(path: Path) -> str:
    """Where a file of the repository is in the site."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return ALSO.get(name, name if path.suffix in (".md", *PICTURES) else f"{name}.md")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to where their files are in the site, and names of pages be links."""
    uri = page.file.src_uri
    source = sources.get(uri, DOCS / uri)
    here = os.path.dirname(uri)  # noqa: PTH120 - addresses, not files

    def moved(found: re.Match[str]) -> str:
        path = (source.parent / found[1]).resolve()
        if not path.exists():
            return found[0]  # mkdocs says that it is missing
        return f"]({os.path.relpath(_uri(path), here or '.')}{found[2] or ''})"

    def linked(found: re.Match[str]) -> str:
        there = files.get_file_from_path(found[1]) is not None and found[1] != uri
        return f"[{found[0]}]({os.path.relpath(found[1], here or '.')})" if there else found[0]

    parts, place = [], 0
    for block in [*CODE.finditer(markdown), None]:
        prose = markdown[place : block.start() if block else None]
        parts += [NAMED.sub(linked, LINK.sub(moved, SPAN.sub(_barred, prose))), block[0] if block else ""]
        place = block.end() if block else place
    text = "".join(parts)
    return text + _told_on(page, files) if uri.startswith(COMMANDS) else text


def _barred(found: re.Match[str]) -> str:
    """Code with a bar in a cell of a table, where the bar has a backslash that Python-Markdown would show."""
    return f"<code>{escape(found[1]).replace(ESCAPED_BAR, '&#124;')}</code>" if ESCAPED_BAR in found[1] else found[0]


def _told_on(page: Page, files: Files) -> str:
    """Of a command: the pages that show it."""
    command = re.search(r"^# `(.*)`", (DOCS / page.file.src_uri).read_text())
    if command is None:
        return ""
    used = re.compile(rf"{re.escape(command[1])}\b(?!-)")
    pages = [
        file
        for file in files.documentation_pages()
        if not file.src_uri.startswith(COMMANDS) and file.src_uri not in sources
    ]
    found = [(_heading(file), file.src_uri) for file in pages if used.search(file.content_string)]
    return "\n\nShown on: " + ", ".join(f"[{title}](../{uri})" for title, uri in found) + ".\n" if found else ""


def _heading(file: File) -> str:
    return file.content_string.partition("\n")[0].removeprefix("# ")


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Keep the order of the pages for ``llms.txt``."""
    shown[:] = [(page.ancestors[-1].title, page) for page in nav.pages]


def on_post_build(config: MkDocsConfig) -> None:
    """Write ``llms.txt`` and the Markdown of its pages."""
    site, lines, section = Path(config.site_dir), [f"# {config.site_name}", "", f"> {config.site_description}"], ""
    for title, page in shown:
        if title != section:
            section = title
            lines += ["", f"## {section}", ""]
        (site / page.file.src_uri).write_text(page.markdown)
        lines.append(f"- [{page.title}]({page.file.src_uri})")
    (site / "llms.txt").write_text("\n".join(lines) + "\n")
