"""What a person is told who cannot have what is asked for."""

import pytest

from tinygptv.ground.errors import DataError


def refused(call, *words, error=DataError):
    """Check that a call is refused in one line with these words."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, (word, message)
