"""Runs programs with command lines in processes that share their imports: ``python programs.py MODULES ROWS``.

Prints JSON, one entry a row: what the program wrote, what came with it and what it left in this folder. Each row has a
process of its own, forked from one in which the modules, named with commas between them, are imported.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path

HEAVY = ("torch", "transformers", "mlflow", "prefect")


def files(folder: Path) -> set[str]:
    """What lies there, but for git's and DVC's own, and the worktree in which an experiment's values are looked at."""
    apart = {".git", ".dvc", ".state"}
    return {str(path) for path in folder.rglob("*") if not apart & {*path.relative_to(folder).parts}}


def run(name: str, arguments: list[str]) -> object:
    """Run a module or file as a program and give its exit code."""
    sys.argv = [name, *arguments]
    try:
        if name.endswith(".py"):
            sys.path.insert(0, name.rpartition("/")[0])
            runpy.run_path(name, run_name="__main__")
        else:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code
    return 0


def forked(name: str, *arguments: str) -> dict[str, object]:
    """The same in a process of its own, up to what it does at its end; gives all that it left."""
    before = files(Path())
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile("w+") as told:
        if (process := os.fork()) == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            try:
                json.dump({"code": run(name, [*arguments]), "heavy": sorted({*HEAVY} & {*sys.modules})}, told)
                atexit._run_exitfuncs()
            except BaseException:
                sys.excepthook(*sys.exc_info())
            for stream in (sys.stdout, sys.stderr, told):
                stream.flush()
            os._exit(0)
        os.waitpid(process, 0)
        for file in (out, err, told):
            file.seek(0)
        left = {"out": out.read().decode(), "err": err.read().decode(), "made": sorted(files(Path()) - before)}
        return left | json.loads(told.read() or "{}")


if __name__ == "__main__":
    for module in filter(None, sys.argv[1].split(",")):
        importlib.import_module(module)
    print(json.dumps([forked(*row) for row in json.loads(sys.argv[2])]))
