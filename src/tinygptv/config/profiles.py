"""Reading a profile: ``params.yaml`` names it, ``configs/<profile>.yaml`` holds it, ``config/`` checks it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tinygptv.config import Config
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.file_names import PARAMS
from tinygptv.ground.yaml_files import profile_file, read_yaml


@dataclass(frozen=True, slots=True)
class Profile:
    """A checked profile with its name and the run's seed."""

    name: str
    seed: int
    config: Config


def read_config(path: Path) -> Config:
    """Read and check one profile's file.

    Raises:
        ConfigError: names the file, the key and what is wrong with it.
    """
    return check_config(read_yaml(path), str(path))


def check_config(content: Any, source: str) -> Config:
    """Check what a profile holds.

    Args:
        content: the YAML as read.
        source: where it comes from, for the message.

    Raises:
        ConfigError: names the key and what is wrong with it.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{source} must hold sections, not {type(content).__name__}")
    try:
        return Config.model_validate(_lists_to_tuples(content))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_problem(error)}") from None


def read_profile(root: Path, name: str | None = None) -> Profile:
    """Read ``params.yaml`` and the profile it names, or the one given.

    Raises:
        ConfigError: names the file, the key and what is wrong with it.
    """
    path = root / PARAMS
    params = check_params(read_yaml(path), str(path))
    chosen = name if name is not None else params["profile"]
    return Profile(str(chosen), params["seed"], read_config(profile_file(root, str(chosen))))


def check_params(params: Any, source: str) -> dict[str, Any]:
    """Check what ``params.yaml`` holds; ``source`` is for the message.

    Raises:
        ConfigError: another key than ``profile`` and ``seed``, or a seed that is none.
    """
    if not isinstance(params, dict) or set(params) != {"profile", "seed"}:
        raise ConfigError(f"{source} must hold exactly the keys `profile` and `seed`")
    if not isinstance(params["seed"], int) or isinstance(params["seed"], bool) or params["seed"] < 0:
        raise ConfigError(f"{source}: seed must be a whole number of at least 0, not {params['seed']!r}")
    return params


def _lists_to_tuples(value: Any) -> Any:
    """YAML has lists, the frozen schema has tuples."""
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    return tuple(_lists_to_tuples(item) for item in value) if isinstance(value, list) else value


def _first_problem(error: ValidationError) -> str:
    """One line for the first problem, and the count of the others."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"])
    text = {
        "extra_forbidden": f"unknown key `{key}`; docs/configuration.md lists the keys",
        "missing": f"key `{key}` is missing",
        "value_error": f"{key + '.' if key else ''}{first.get('ctx', {}).get('error', first['msg'])}",
    }.get(first["type"], f"key `{key}` is {first['input']!r}: {first['msg'][0].lower() + first['msg'][1:]}")
    return text + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
