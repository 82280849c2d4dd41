"""Calls ``tinygptv`` with command lines that are wrong, all in this process: ``python wrong.py ROWS`` prints JSON.

What a refusal imports stays imported, so each row tells what came with it; nothing heavy may be there before the last.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

HEAVY = ("torch", "transformers", "mlflow", "prefect", "pandas", "matplotlib")


def files(folder: Path) -> set[str]:
    """Everything below a folder, but for git's own."""
    return {str(path) for path in folder.rglob("*") if ".git" not in path.relative_to(folder).parts}


def main(rows: list[list[str]]) -> list[dict[str, object]]:
    """Call each; gives code, output and what else it left."""
    from tinygptv import cli

    here, told = Path.cwd(), []
    for arguments in rows:
        out, err, before, loaded = io.StringIO(), io.StringIO(), files(here), {*HEAVY} & {*sys.modules}
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code: object = cli.main(arguments)
        except BaseException as error:
            code = repr(error)
        os.chdir(here)
        told.append(
            {
                "code": code,
                "out": out.getvalue(),
                "err": err.getvalue(),
                "made": sorted(files(here) - before),
                "heavy": sorted(({*HEAVY} & {*sys.modules}) - loaded),
            }
        )
    return told


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
