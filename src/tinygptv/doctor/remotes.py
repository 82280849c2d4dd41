"""DVC's remotes: whether what comes from one is checked on the way (docs/remotes.md).

Without ``verify`` DVC takes a damaged object of a remote for the output and never looks at it again.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

from tinygptv.doctor.findings import Finding

NAME = "DVC's remote"
_SECTION = re.compile(r"""['"]?remote "(.+?)"['"]?""")


def verified(root: Path) -> Iterator[Finding]:
    """The remotes of this checkout; those of the user's own configuration of DVC are not looked at."""
    options: dict[str, dict[str, str]] = {}
    local: set[str] = set()
    for path in (root / ".dvc" / "config", root / ".dvc" / "config.local"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            fix = f"rm {path}, and set the remote again" if path.suffix else f"git checkout {path}"
            yield Finding(NAME, "problem", f"{path} cannot be read", fix)
            return
        for section in parser.sections():
            if (match := _SECTION.fullmatch(section)) is None:
                continue
            if match[1] not in options and path.suffix:
                local.add(match[1])
            options.setdefault(match[1], {}).update(parser[section])
    if not options:
        yield Finding(NAME, "ok", "none is set")
    for name, values in options.items():
        if values.get("verify", "").lower() == "true":
            yield Finding(NAME, "ok", f"{name} is verified at each pull")
            continue
        where = "--local " if name in local else ""
        fix = f"dvc remote modify {where}{name} verify true"
        yield Finding(NAME, "warning", f"{name} is not verified: a damaged object would pass for an output", fix)
