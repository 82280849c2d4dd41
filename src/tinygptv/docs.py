"""What the documentation takes from elsewhere: ``python -m tinygptv.docs [--check]``.

The configuration reference comes from the schema, the README's results from ``reports/tiny``.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tinygptv.config import Config
from tinygptv.ground.arguments import Parser
from tinygptv.ground.errors import EXIT_USER_ERROR, UserError, complain
from tinygptv.ground.file_names import ENVIRONMENT
from tinygptv.ground.files import read_json, write_text
from tinygptv.ground.folders import find_root, reports_folder
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.results import markdown_results

PROFILES = ("tiny", "paper")
"""Profiles whose values are shown, where their files exist."""
REFERENCE = Path("docs") / "configuration.md"
README = Path("README.md")
RESULTS_BEGIN, RESULTS_END = "<!-- results: python -m tinygptv.docs -->", "<!-- end of results -->"
MISSING = object()
EACH = "NAME"
"""Stands for the names that a profile itself gives; the values shown are those of the first."""

HEAD = """\
# Configuration

Written by `python -m tinygptv.docs` from `src/tinygptv/config/`; do not edit.

`params.yaml` names the profile and the seed; `configs/<profile>.yaml` holds every key below. No key has a default but
those whose description says what their absence means, and an unknown key or a wrong type is an error that names it.
Values that differ between the sections of a heading are separated by `/`, in the heading's order.
"""


def reference(root: Path) -> str:
    """The text of ``docs/configuration.md`` for the profiles of a checkout."""
    files = {name: root / "configs" / f"{name}.yaml" for name in PROFILES}
    profiles = {name: read_yaml(path) for name, path in files.items() if path.is_file()}
    return HEAD + "".join(_section(paths, cls, profiles) for paths, cls in _groups(Config, [()]))


def readme(root: Path) -> str:
    """The README with the present results between its marks."""
    text = (root / README).read_text()
    before, _, rest = text.partition(RESULTS_BEGIN)
    _, _, after = rest.partition(RESULTS_END)
    made = read_json(reports_folder(root, "tiny") / ENVIRONMENT)
    where = f"Made with {made['threads']} threads on {made['processor']}, torch {made['torch']}, no GPU."
    return f"{before}{RESULTS_BEGIN}\n{markdown_results(root, 'tiny')}\n\n{where}\n{RESULTS_END}{after}"


def main() -> int:
    """Write the generated parts, or check that the written ones are current."""
    parser = Parser(prog="python -m tinygptv.docs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is stale")
    arguments = parser.parse_args()
    try:
        root = find_root(Path.cwd())
        written = ((REFERENCE, reference(root)), (README, readme(root)))
    except UserError as error:
        complain("docs", error)
        return EXIT_USER_ERROR
    stale = []
    for name, text in written:
        path = root / name
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(str(name))
        if not arguments.check:
            write_text(path, text)
    if stale and arguments.check:
        complain("docs", f"{', '.join(stale)} stale; run `python -m tinygptv.docs`")
        return 1
    return 0


Keys = tuple[str, ...]


def _section(paths: list[Keys], cls: type[BaseModel], profiles: Mapping[str, Any]) -> str:
    """Heading, table and subsections of sections that share one schema."""
    names = ", ".join(f"`{'.'.join(path)}`" for path in paths) + _alternative(cls)
    text = f"\n{'#' * min(len(paths[0]) + 1, 6)} {names}\n\n{inspect.cleandoc(cls.__doc__ or '')}\n"
    plain = {_key(name, field): field for name, field in cls.model_fields.items() if not _schemas(field)}
    if plain:
        header = ["key", "type", "constraint", "description", *profiles]
        text += f"\n{_row(header)}{_row(['---'] * len(header))}"
        schema = cls.model_json_schema()["properties"]
        for key, field in plain.items():
            values = [_values(profile, [(*path, key) for path in paths]) for profile in profiles.values()]
            kind, constraint = _kind(schema[key]), _constraint(schema[key])
            text += _row([f"`{key}`", kind, constraint, field.description or "", *values])
    return text + "".join(_section(inner, child, profiles) for inner, child in _groups(cls, paths))


def _groups(cls: type[BaseModel], paths: list[Keys]) -> Iterator[tuple[list[Keys], type[BaseModel]]]:
    """The sections directly below ``paths``, those of one schema together."""
    by_class: dict[type[BaseModel], list[Keys]] = {}
    for path in paths:
        for name, field in cls.model_fields.items():
            named = (EACH,) if get_origin(field.annotation) is dict else ()
            for child in _schemas(field):
                by_class.setdefault(child, []).append((*path, _key(name, field), *named))
    for section, found in by_class.items():
        yield found, section


def _schemas(field: FieldInfo) -> list[type[BaseModel]]:
    """The schema of a field that is a section, several where it has alternatives, none for a plain key."""
    alternatives = get_args(field.annotation) or (field.annotation,)
    return [cls for cls in alternatives if inspect.isclass(cls) and issubclass(cls, BaseModel)]


def _alternative(cls: type[BaseModel]) -> str:
    """What a profile writes to choose this schema among the alternatives of its section."""
    field = cls.model_fields.get("source")
    return f" with `source: {get_args(field.annotation)[0]}`" if field is not None else ""


def _key(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _kind(schema: Mapping[str, Any]) -> str:
    """The type in words, from JSON Schema."""
    if "anyOf" in schema:
        return " or ".join(_kind(alternative) for alternative in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return "word"
    if schema["type"] == "array":
        items = schema["prefixItems"][0] if "prefixItems" in schema else schema["items"]
        return f"list of {_kind(items)}s"
    if schema["type"] == "object":
        return f"table of {_kind(schema['additionalProperties'])}s"
    return {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "true or false",
        "null": "`null`",
    }[schema["type"]]


def _constraint(schema: Mapping[str, Any]) -> str:
    """What a value must obey, from JSON Schema."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(filter(None, map(_constraint, schema["anyOf"]))))
    parts = [f"{sign} {schema[name]:g}" for name, sign in signs.items() if name in schema]
    words = schema.get("enum", [schema["const"]] if "const" in schema else [])
    parts += [" or ".join(f"`{word}`" for word in words)] if words else []
    if schema.get("type") == "array":
        length = schema.get("minItems")
        parts += [f"exactly {length}"] if length is not None and length == schema.get("maxItems") else []
        parts += [_constraint(schema["prefixItems"][0] if "prefixItems" in schema else schema["items"])]
    if schema.get("type") == "object":
        parts += [_constraint(schema["additionalProperties"])]
    return ", ".join(part for part in parts if part)


def _values(profile: Any, paths: list[Keys]) -> str:
    """The value of a key in a profile, once where all sections agree."""
    shown = [_shown(_lookup(profile, path)) for path in paths]
    return shown[0] if len(set(shown)) == 1 else " / ".join(shown)


def _lookup(profile: Any, path: Keys) -> Any:
    for key in path:
        if key == EACH and isinstance(profile, Mapping) and profile:
            profile = next(iter(profile.values()))
        elif isinstance(profile, Mapping) and key in profile:
            profile = profile[key]
        else:
            return MISSING
    return profile


def _shown(value: Any) -> str:
    return "-" if value is MISSING else f"`{json.dumps(value, ensure_ascii=False)}`"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.exit(main())
