"""``download``: take the data set from its installed package, verify its recorded digest, write a few plain files."""

from __future__ import annotations

from tinygptv.config import EasyVQA
from tinygptv.data import sources
from tinygptv.ground.errors import ConfigError
from tinygptv.ground.file_names import DOWNLOAD_SOURCE
from tinygptv.steps.harness import StepContext


def run(context: StepContext) -> None:
    """Write ``data/<profile>/download``.

    Raises:
        DataError: the package is missing, or its data are not those of the recorded digest.
        ConfigError: the profile names the data sets of the paper.
    """
    settings = context.config.download
    if not isinstance(settings, EasyVQA):
        raise ConfigError(
            f"download.source of profile {context.profile.name} is {settings.source}: this version does not fetch the "
            "paper's data sets; set it to easy_vqa, with tasks in the mixtures (shards of your own: docs/records.md)"
        )
    package = sources.find_package()
    files = sources.read_files(package.data)
    sha256 = sources.check_digest(package, files, settings.sha256)
    counts = sources.write_download(context.out, package, files, sha256)
    context.run.params({"source": f"{sources.DISTRIBUTION} {package.version}", "sha256": sha256})
    context.run.artifact(context.out / DOWNLOAD_SOURCE)
    for split, count in counts.items():
        context.run.metrics({f"{split}.{name}": value for name, value in count.items()})
        print(f"{split:<6}{count['images']:>6} images{count['questions']:>8} questions")
