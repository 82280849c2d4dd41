"""The forms of data sets that can be read: name → module, which has one function ``read`` (``data/source.py``)."""

from __future__ import annotations

FORMATS = {
    "easy_vqa": "tinygptv.data.formats.easy_vqa",
    "llava": "tinygptv.data.formats.llava",
    "records": "tinygptv.data.formats.records",
}
UNREAD = ("paper",)
"""Forms that a profile may name, so that it can be planned with, and that no module reads yet."""
