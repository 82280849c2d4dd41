"""The plan of memory, compute and disk: pure functions of a profile, known before anything is loaded."""
