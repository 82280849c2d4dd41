"""YAML files, and which profiles there are: ``params.yaml`` names one, ``configs/<profile>.yaml`` holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinygptv.ground.errors import ConfigError, meant
from tinygptv.ground.file_names import PARAMS


def read_yaml(path: Path) -> Any:
    """Read YAML 1.2, in which ``1e-4`` is a number.

    Raises:
        ConfigError: the file is missing or is not YAML.
    """
    try:
        return from_yaml(path.read_text(), str(path))
    except FileNotFoundError:
        others = f"; profiles are {known_profiles(path.parent)}" if path.parent.name == "configs" else ""
        raise ConfigError(f"{path} does not exist{others}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; name a file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None


def from_yaml(text: str, source: str) -> Any:
    """Read YAML 1.2 from a text.

    Args:
        text: the YAML.
        source: where it comes from, for the message.

    Raises:
        ConfigError: it is not YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None


def profile_names(folder: Path) -> list[str]:
    """The profiles in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def known_profiles(folder: Path) -> str:
    """Their names for messages."""
    return ", ".join(profile_names(folder)) or "none here"


def profile_file(root: Path, name: str) -> Path:
    """``configs/<name>.yaml`` of a checkout.

    Raises:
        ConfigError: there is no such profile.
    """
    folder = root / "configs"
    path = folder / f"{name}.yaml"
    if name not in (names := profile_names(folder)):
        raise ConfigError(f"{path} does not exist; profiles are {known_profiles(folder)}{meant(name, names)}")
    return path


def active_profile(root: Path) -> str:
    """The name of the profile in ``params.yaml``; the configuration itself is not needed here.

    Raises:
        ConfigError: it names none.
    """
    params = read_yaml(root / PARAMS)
    if not isinstance(params, dict) or "profile" not in params:
        raise ConfigError(f"{root / PARAMS} has no key `profile`")
    return str(params["profile"])
