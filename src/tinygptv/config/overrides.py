"""Other values for a profile, as experiments ask for them: checked at the door, and the file stays what it is else."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from tinygptv.config.profiles import check_config, check_params
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.file_names import PARAMS
from tinygptv.ground.yaml_files import from_yaml

UNFOLDED = 4096
"""Longer than any line of a profile: a long one is not broken in two."""


def override(root: Path, profile: str, settings: Sequence[str]) -> dict[Path, str]:
    """The texts of ``params.yaml`` and a profile with other values; nothing is written.

    Args:
        root: the checkout.
        profile: its name.
        settings: ``KEY=VALUE`` each, the value in YAML: ``stage4.epochs=3``, ``stage2.trainable=[lora]``, ``seed=8``.

    Raises:
        ConfigError: no such key, or a value of the wrong type.
    """
    params, config = root / PARAMS, root / "configs" / f"{profile}.yaml"
    texts = {path: path.read_text() for path in (params, config)}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not key.strip() or not sign:
            raise ConfigError(f"--set {setting}: it must be KEY=VALUE, such as stage4.epochs=3")
        path = params if key == "seed" else config
        texts[path] = _with_value(texts[path], key.split("."), from_yaml(value, f"--set {setting}"), f"--set {setting}")
    asked = " ".join(f"--set {setting}" for setting in settings)
    check_params(from_yaml(texts[params], str(params)), asked)
    check_config(from_yaml(texts[config], str(config)), asked)
    return texts


def _with_value(text: str, key: Sequence[str], value: Any, asked: str) -> str:
    """The text with one value changed, and no other that shares an anchor with it; comments and anchors stay.

    The value is put as deep as it can be. Where others would change with it, as it lies in what they share, what is
    around it is written out instead: the section of a stage, and in the worst case everything.
    """
    wanted = _unshared(from_yaml(text, asked))
    node = wanted
    for part in key[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise ConfigError(f"{asked}: no key `{'.'.join(key)}`; docs/configuration.md lists the keys")
    node[key[-1]] = value
    for depth in range(len(key), 0, -1):
        tried = _editor().load(text)
        place, new = tried, wanted
        for part in key[: depth - 1]:
            place, new = place[part], new[part]
        place[key[depth - 1]] = new[key[depth - 1]]
        changed = _dumped(tried)
        if from_yaml(changed, asked) == wanted:
            return changed
    return _dumped(wanted)


def _unshared(value: Any) -> Any:
    """A copy in which nothing is in two places: YAML's anchors make one object of what is written once."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _editor() -> Any:
    from ruamel.yaml import YAML

    editor = YAML()
    editor.width, editor.preserve_quotes = UNFOLDED, True
    return editor


def _dumped(content: Any) -> str:
    stream = StringIO()
    _editor().dump(content, stream)
    return stream.getvalue()
