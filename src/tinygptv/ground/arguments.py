"""Command lines of the programs without typer: a wrong one is one line on stderr and exit code 2."""

from __future__ import annotations

import argparse
from typing import NoReturn

from tinygptv.ground.errors import EXIT_USER_ERROR, complain


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong, without the usage of the program; its subcommands are such parsers, too."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        complain(self.prog, f"{message}; see `{self.prog} --help`")
        self.exit(EXIT_USER_ERROR)
