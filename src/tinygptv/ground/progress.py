"""A progress line: bar, loss, rate, time left on a terminal; a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

PLAIN_INTERVAL_S = 5.0


class Progress:
    """Shows how far a loop is; where output goes to a file or a flow, it prints whole lines and few of them.

    Where nobody knows the total, it is None.
    """

    def __init__(self, name: str, total: int | None, done: int = 0, unit: str = "step") -> None:
        self._name, self._total, self._start = name, total, done
        self._terminal = sys.stderr.isatty()
        self._begin = self._last = time.monotonic()
        self._bar = tqdm(total=total, initial=done, desc=name, unit=unit, leave=True) if self._terminal else None

    def update(self, done: int, **values: float) -> None:
        """Show that ``done`` of the total are done, with the latest values."""
        shown = {key: f"{value:.4g}" for key, value in values.items()}
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL_S and (self._total is None or done < self._total):
            return
        self._last = now
        rate = (done - self._start) / max(now - self._begin, 1e-9)
        text = [f"{key} {value}" for key, value in shown.items()] + [f"{rate:.1f}/s"]
        if self._total is not None:
            text.append(f"{(self._total - done) / rate if rate else float('inf'):.0f} s left")
        print(
            f"{self._name}: {done if self._total is None else f'{done}/{self._total}'}, {', '.join(text)}", flush=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
