"""Fault drills. The drills' numbers and pass lines are those of docs/drills.md.

How a test registers itself, in this folder or in any other:

    @pytest.mark.drill(27, "MLflow down, slow, answering 500: the loss stream is the same", trials=5)
    @pytest.mark.drills                       # only where it takes more than a second or two
    def test_...(...):

``drill`` ties a test to its drill: number, what was tried in a few words, and how many trials one run of the test is
(1 if left out). ``make drills`` runs every test that carries ``drill``, wherever it lies; a default run leaves out
those that carry ``drills``, too. A test that only knows at its end how many trials it made takes the fixture
``trials`` and writes ``trials.count = n`` or ``trials.count += 1``; that number takes the marker's place.

Tests with the same number and words are one line of the table: their trials are added (so the cases of a parametrized
test are), and it says pass only if all of them passed. The plugin is tests/drills/plugin.py; the table goes to the
terminal and, with ``--drill-report PATH``, into a JSON file. The small checkouts (fixtures ``checkout``, ``run``,
``refused``, ``start``) are those of tests/checkouts.py.
"""

from __future__ import annotations

from tests.steps.conftest import _same_process_state  # noqa: F401 (a fixture: seeds and kernels as they were)
