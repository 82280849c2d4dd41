"""What a person sees: whole lines, and progress bars that do not flood."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from typing import TextIO

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
INDENT = "  "


class LineSplitter:
    """Cuts a stream of bytes into lines; a carriage return makes a line that the next one replaces."""

    def __init__(self, line: Callable[[str], None], update: Callable[[str], None]) -> None:
        self._line = line
        self._update = update
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        """Take bytes as they come, also half lines and half characters."""
        self._rest += chunk
        while match := re.search(rb"\r\n|\n|\r(?=.)", self._rest, re.DOTALL):
            text, self._rest = _decode(self._rest[: match.start()]), self._rest[match.end() :]
            (self._update if match.group() == b"\r" else self._line)(text)

    def close(self) -> None:
        """Hand over what came after the last line end."""
        if text := _decode(self._rest.rstrip(b"\r")):
            self._line(text)
        self._rest = b""


class StepView:
    """Shows one step's lines under its name, and progress in place on a terminal, else every few seconds."""

    def __init__(self, stream: TextIO | None = None, seconds: float | None = None) -> None:
        self._stream = stream or sys.stdout
        self._in_place = self._stream.isatty()
        self._seconds = seconds if seconds is not None else (0.2 if self._in_place else 5.0)
        self._shown = time.monotonic()
        self._open = False

    def line(self, text: str) -> None:
        """A whole line."""
        self._clear()
        print(f"{INDENT}{text}" if text else "", file=self._stream, flush=True)

    def update(self, text: str) -> None:
        """A line that the next one replaces, such as a progress bar."""
        now = time.monotonic()
        if not text or now - self._shown < self._seconds:
            return
        self._shown = now
        if self._in_place:
            self._clear()
            print(f"{INDENT}{text}", end="", file=self._stream, flush=True)
            self._open = True
        else:
            self.line(text)

    def _clear(self) -> None:
        if self._open:
            print("\r\x1b[K", end="", file=self._stream)
            self._open = False


def _decode(raw: bytes) -> str:
    return ESCAPES.sub("", raw.decode(errors="replace")).rstrip()
