"""Where images and questions come from: the easy-VQA package (https://github.com/vzhou842/easy-VQA, MIT).

The package is found and read without running its code. Its data files become a few files of our own whose bytes
depend on nothing but the content.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import DOWNLOAD_SOURCE
from tinygptv.ground.files import write_bytes, write_json

MODULE = "easy_vqa"
DISTRIBUTION = "easy-vqa"
TESTED_VERSION = "1.0"
URL = "https://github.com/vzhou842/easy-VQA"
LICENCE = "MIT"
SPLITS = ("train", "test")
IGNORED = frozenset({".DS_Store", "README.md"})
IMAGE_NAME = "{:04d}.png"


@dataclass(frozen=True, slots=True)
class Package:
    """The installed data set package."""

    data: Path
    version: str


def find_package() -> Package:
    """Find the installed easy-VQA package without importing it.

    Raises:
        DataError: it is not installed, or has no data folder.
    """
    install = f"run `python -m pip install {DISTRIBUTION}=={TESTED_VERSION}`"
    spec = importlib.util.find_spec(MODULE)
    if spec is None or spec.origin is None:
        raise DataError(f"the package {DISTRIBUTION} is not installed; {install}")
    try:
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise DataError(f"{spec.origin} does not belong to the package {DISTRIBUTION}; {install}") from None
    data = Path(spec.origin).parent / "data"
    if not data.is_dir():
        raise DataError(f"{data} is missing; {install} --force-reinstall")
    return Package(data, version)


def read_files(folder: Path) -> dict[str, bytes]:
    """The data files of a package: relative name → content, sorted by name."""
    paths = (path for path in folder.rglob("*") if path.name not in IGNORED and path.is_file())
    return dict(sorted((path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths))


def digest(files: Mapping[str, bytes]) -> str:
    """One SHA-256 over the sorted names and contents, in the form of ``files.sha256_tree``."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return whole.hexdigest()


def check_digest(package: Package, files: Mapping[str, bytes], expected: str) -> str:
    """Compare the digest of the data files with the recorded one and return it.

    Raises:
        DataError: they differ; the message has both.
    """
    found = digest(files)
    if found != expected:
        raise DataError(
            f"{package.data} ({DISTRIBUTION} {package.version}): download.sha256 expects {expected}, found {found}; "
            f"install {DISTRIBUTION}=={TESTED_VERSION} again, or record the digest of data you trust in the profile"
        )
    return found


def write_download(
    folder: Path, package: Package, files: Mapping[str, bytes], sha256: str
) -> dict[str, dict[str, int]]:
    """Write one tar of images and one JSON of questions per split, the answers, and where they come from.

    Args:
        folder: where to write.
        package: the package the files belong to.
        files: its data files, as ``read_files`` gives them.
        sha256: their digest.

    Returns:
        Counts of images and questions per split.

    Raises:
        DataError: a file of the package is missing or is not what its name says.
    """
    counts: dict[str, dict[str, int]] = {}
    for split in SPLITS:
        images = _images(package, files, split)
        questions = _json_list(package, files, f"{split}/questions.json")
        write_bytes(folder / f"{split}.tar", tar_bytes(images))
        write_json(folder / f"{split}.json", questions)
        counts[split] = {"images": len(images), "questions": len(questions)}
    answers = _content(package, files, "answers.txt").decode("utf-8").split()
    write_json(folder / "answers.json", answers)
    source = {"name": "easy-VQA", "version": package.version, "licence": LICENCE, "url": URL}
    write_json(folder / DOWNLOAD_SOURCE, {**source, "sha256": sha256, "counts": counts})
    return counts


def tar_bytes(members: Mapping[str, bytes]) -> bytes:
    """An uncompressed tar in which names and contents decide every byte: sorted, no dates, no owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size = len(members[name])
            info.mode = 0o444
            tar.addfile(info, io.BytesIO(members[name]))
    return buffer.getvalue()


def _images(package: Package, files: Mapping[str, bytes], split: str) -> dict[str, bytes]:
    """Images of a split under zero-padded names, so that the order of names is the order of numbers."""
    prefix = f"{split}/images/"
    images: dict[str, bytes] = {}
    for name, content in files.items():
        if name.startswith(prefix):
            stem, dot, extension = name.removeprefix(prefix).rpartition(".")
            if not (dot and extension == "png" and stem.isascii() and stem.isdigit()):
                raise DataError(f"{package.data / name} is not named <number>.png; install {DISTRIBUTION} again")
            images[IMAGE_NAME.format(int(stem))] = content
    if not images:
        raise DataError(f"{package.data / prefix} has no images; install {DISTRIBUTION} again")
    return images


def _json_list(package: Package, files: Mapping[str, bytes], name: str) -> list[object]:
    try:
        content = json.loads(_content(package, files, name))
    except ValueError as error:
        raise DataError(f"{package.data / name} is not valid JSON ({error}); install {DISTRIBUTION} again") from None
    if not isinstance(content, list):
        raise DataError(f"{package.data / name} must hold a list; install {DISTRIBUTION} again")
    return content


def _content(package: Package, files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise DataError(f"{package.data / name} is missing; install {DISTRIBUTION} again")
    return files[name]
