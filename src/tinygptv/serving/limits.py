"""Every limit of the service, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from tinygptv.data.tasks import MAX_TEXT

MIB = 1024**2
SERVE_PORT, WEB_PORT = 8000, 7860
CHAMPION, CHALLENGER = "models:/tinygptv@champion", "models:/tinygptv@challenger"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """How much the service takes, and how it works. What is beyond a limit gets a 4xx answer that names the limit."""

    max_image_bytes: int = 12 * MIB
    """Of an image's file: a telephone's pictures have up to 8. Its pixels are bounded in ``data/images.py``."""
    max_text: int = MAX_TEXT
    """Characters of a question, as in a record."""
    max_requests: int = 1000
    """Requests at work or waiting at once; beyond it: 429."""
    max_bytes: int = 256 * MIB
    """Bytes of their bodies altogether; beyond it: 429."""
    body_seconds: float = 30.0
    """Until a request's body must have arrived."""
    max_batch: int = 64
    """Answers under way at once."""
    max_batch_tokens: int = 16_384
    """Their count times the longest, prompt included: what decides the memory of keys and values."""
    poll_seconds: float = 10.0
    """How often the registry is asked whether an alias has moved."""
    stop_seconds: int = 60
    """After SIGTERM, until answers that are still missing are given up."""

    @property
    def max_body(self) -> int:
        """Bytes of a request's body: the image in base 64, and room for the rest."""
        return self.max_image_bytes * 4 // 3 + 64 * 1024
