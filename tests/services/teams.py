"""A clone whose servers keep what they have in PostgreSQL and S3, for the tests of ``tinygptv team``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psutil

from tests.services.clones import Clone
from tests.services.servers import Servers
from tinygptv.ground import servers as services_settings
from tinygptv.services import processes
from tinygptv.team import s3, settings


@dataclass(frozen=True)
class Team:
    """``tinygptv team up`` in a clone in which the pipeline has run."""

    clone: Clone
    exports: Mapping[str, str]
    """What ``tinygptv team env`` gives a terminal."""
    flow: str
    """What the flow printed."""

    @property
    def settings(self) -> settings.TeamSettings:
        found = settings.read(self.clone.root)
        assert found is not None
        return found

    @property
    def servers(self) -> Servers:
        return Servers(self.clone.root, self.clone.root, dict(self.clone.env))

    @property
    def mlflow(self) -> Any:
        """MLflow's client, over HTTP and with a password."""
        from mlflow import MlflowClient

        uri = self.exports["MLFLOW_TRACKING_URI"]
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """What PostgreSQL itself answers."""
        import psycopg2

        address = self.settings.database(database)
        with closing(psycopg2.connect(address, connect_timeout=5)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def objects(self, bucket: str) -> list[str]:
        """Keys in a bucket, asked with the bucket's own key."""
        pages = s3.client(self.settings.s3, self.settings.s3_keys[bucket]).get_paginator("list_objects_v2")
        return [entry["Key"] for page in pages.paginate(Bucket=bucket) for entry in page.get("Contents", ())]

    def processes(self) -> list[psutil.Process]:
        """Everything that was started."""
        found = services_settings.read(self.clone.root)
        assert found is not None
        marks = [f"{self.settings.mark}/{name}" for name in ("postgres", "s3")]
        marks += [f"{found.mark}/{name}" for name in ("mlflow", "prefect", "worker")]
        return [process for mark in marks for process in processes.marked(mark)]


def read_exports(said: str) -> dict[str, str]:
    """What a shell would take from ``tinygptv team env``."""
    words = shlex.split(said.replace("export ", ""))
    return dict(word.split("=", 1) for word in words)
