"""Finished weights of another family than the profile's are refused in one line that names the key."""

from __future__ import annotations

from typing import Any

import pytest

from tinygptv.config import Config, Model
from tinygptv.ground.errors import CheckpointError
from tinygptv.model.init_files import check_configuration, check_sizes
from tinygptv.model.profile import from_profile


def changed(model: Model, section: str, **changes: Any) -> Model:
    return model.model_copy(update={section: getattr(model, section).model_copy(update=changes)})


@pytest.mark.parametrize(
    ("section", "changes", "told"),
    [
        ("text", {"architecture": "llama"}, r"model\.text\.architecture \(phi, here llama\)"),
        ("vision", {"tower": "clip"}, r"model\.vision\.tower \(eva, here clip\)"),
        ("text", {"num_key_value_heads": 1, "architecture": "llama"}, r"num_key_value_heads"),
    ],
)
def test_another_family_is_named(smoke: Config, section: str, changes: dict[str, Any], told: str) -> None:
    wanted, found = changed(smoke.model, section, **changes), smoke.model
    with pytest.raises(CheckpointError, match=told) as raised:
        check_sizes(wanted, found.model_dump(mode="json"), (), "here")
    assert "\n" not in str(raised.value)
    with pytest.raises(CheckpointError, match=told):
        check_configuration(wanted, from_profile(wanted, 0).to_dict(), from_profile(found, 0).to_dict(), "here")


def test_the_same_family_passes_with_the_keys_that_old_manifests_lack(smoke: Config) -> None:
    whole = smoke.model.model_dump(mode="json")
    whole["text"] |= {"architecture": "phi", "num_key_value_heads": None}
    check_sizes(smoke.model, whole, (), "here")
    check_sizes(smoke.model, smoke.model.model_dump(mode="json"), (), "here")
    sizes = from_profile(smoke.model, 0).to_dict()
    check_configuration(smoke.model, sizes, sizes, "here")
