"""Programs that start and end fast.

torch, transformers, PEFT and MLflow make a million objects that live until the program ends. Python's collector walks
over all of them several times during the imports and again at the end: 3 of the 8 seconds that importing them takes.
"""

from __future__ import annotations

import atexit
import gc

NEW_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS = 100_000, 20, 100
"""How many of each until the next older generation is looked through; Python's own values are 700, 10 and 10."""


def spare_collector() -> None:
    """Let the collector of reference cycles look rarely, and not at all at the end.

    For programs, not for libraries: it holds for the whole process. What no cycle holds is still freed at once.
    """
    gc.set_threshold(NEW_OBJECTS, YOUNG_COLLECTIONS, MIDDLE_COLLECTIONS)
    atexit.register(gc.freeze)
