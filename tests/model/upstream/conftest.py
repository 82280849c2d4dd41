"""The hub of these tests."""

from tests.hub import hub, no_network  # noqa: F401 (fixtures)
