"""Names of records, each given once, whatever ids their files have."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

from tinygptv.data.conversations import kind
from tinygptv.data.record_rules import RecordError
from tinygptv.ground.files import canonical

_NAME_DIGITS = 16


class RecordNames:
    """Names of records, each given once. What was seen lies in a file without a name, not in memory."""

    def __init__(self) -> None:
        self._base = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode = OFF", "cache_size = -65536"):
            self._base.execute(f"PRAGMA {pragma}")
        self._base.execute("CREATE TABLE records (content BLOB PRIMARY KEY) WITHOUT ROWID")
        self._base.execute("CREATE TABLE names (name BLOB PRIMARY KEY, times INTEGER) WITHOUT ROWID")
        self._base.execute("BEGIN")  # one transaction a name would take longer with each

    def of(self, own: str, content: Any) -> str:
        """The id of a record, with a number where others before have it too; without one, a digest of the content.

        Args:
            own: its own id; empty where it has none.
            content: all of it, as JSON.

        Raises:
            RecordError: the same record stood before.
        """
        whole = hashlib.sha256(canonical(content).encode(errors="surrogatepass"))
        name = own or whole.hexdigest()[:_NAME_DIGITS]
        if not self._base.execute("INSERT OR IGNORE INTO records VALUES (?)", (whole.digest(),)).rowcount:
            raise RecordError("the same record stands twice", name)
        return self.numbered(name)

    def numbered(self, name: str) -> str:
        """A name, with a number where others before have it too, as in ``cat-1#2``."""
        key = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
        counted = "INSERT INTO names VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET times = times + 1 RETURNING times"
        times = self._base.execute(counted, (key,)).fetchone()[0]
        return name if times == 1 else f"{name}#{times}"

    def close(self) -> None:
        """Forget them."""
        self._base.close()


def own_id(content: dict[str, Any]) -> str:
    """The id that a record has itself; empty where it has none.

    Raises:
        RecordError: it is neither text nor a whole number.
    """
    given = content.get("id")
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        raise RecordError(f"`id` must be text or a whole number, not {kind(given)}", "")
    return "" if given is None else str(given)
