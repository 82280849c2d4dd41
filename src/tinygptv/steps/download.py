"""``download``: look at the raw files of every data set and at what ``init`` names, and write down which they are."""

from __future__ import annotations

from tinygptv.data.source import raw_files, set_digest
from tinygptv.ground import digests
from tinygptv.ground.errors import DataError
from tinygptv.ground.file_names import INIT
from tinygptv.ground.files import write_json
from tinygptv.steps.harness import StepContext
from tinygptv.steps.init_from import init_digest


def run(context: StepContext) -> None:
    """Write ``data/<profile>/download``: a list of files and digests for each data set.

    Raises:
        ConfigError: no module reads a data set's format.
        DataError: a file is missing, or the data are not those of the recorded digest.
    """
    for name, settings in context.config.data.items():
        files = {file: digests.sha256(path) for file, path in raw_files(settings, context.root)}
        whole = set_digest(files)
        if settings.sha256 and settings.sha256 != whole:
            raise DataError(
                f"data.{name}.sha256 expects {settings.sha256}, found {whole}; get the files again, or record "
                "the digest of data you trust in the profile"
            )
        write_json(context.out / f"{name}.json", {"sha256": whole, "files": files})
        context.run.params({f"{name}.sha256": whole})
        context.run.metrics({f"{name}.files": len(files)})
        print(f"{name}: {len(files):,} files")
    write_json(context.out / INIT, init_digest(context.root, context.config.init))
