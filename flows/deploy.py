"""``python -m flows.deploy``: the work pool, the deployments of ``prefect.yaml`` and the automations, on the server.

It may be repeated. Nothing is sent while ``prefect.yaml`` and the flows are as they were, so that what a person changed
in Prefect's page stays. After a change of the project, a schedule that ``prefect.yaml`` did not change is put back as
the person had it: another time, switched off, or the whole deployment paused.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleUpdate, DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from flows import automations
from tinygptv.ground.addresses import without_secrets
from tinygptv.ground.errors import EXIT_USER_ERROR, UserError
from tinygptv.ground.files import canonical
from tinygptv.ground.folders import find_root
from tinygptv.ground.yaml_files import read_yaml
from tinygptv.services import applied
from tinygptv.services.stack import POOL


def main() -> int:
    """Apply everything to the server of ``PREFECT_API_URL``."""
    try:
        apply(find_root(Path.cwd()))
    except UserError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    return 0


def apply(root: Path) -> None:
    """Bring the server up to date with the checkout.

    Raises:
        UserError: Prefect refuses ``prefect.yaml``; the message has its last line.
    """
    declared = _declared(root)
    before = applied.schedules(root)
    with get_client(sync_client=True) as client:
        _make_pool(client)
        _make_queues(client, root)
        there = {deployment.name: deployment for deployment in client.read_deployments()}
        if not (applied.is_current(root) and set(declared) <= set(there)):
            _deploy(root)
            after = {deployment.name: deployment for deployment in client.read_deployments()}
            for name, schedules in declared.items():
                if name in there and schedules == before.get(name):
                    _put_back(client, after[name], there[name])
            applied.note(root, declared)
    automations.apply()


def _declared(root: Path) -> dict[str, str]:
    """The schedules of each deployment as ``prefect.yaml`` has them, in one form."""
    return {
        str(deployment["name"]): canonical(deployment.get("schedules") or [])
        for deployment in read_yaml(root / applied.PREFECT_YAML)["deployments"]
    }


def _make_pool(client: SyncPrefectClient) -> None:
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        _prefect("work-pool", "create", POOL, "--type", "process")


def _make_queues(client: SyncPrefectClient, root: Path) -> None:
    """The queues of ``prefect.yaml``, of each of which one run works at a time, whichever deployment it is of.

    A limit that a person gave a queue stays.
    """
    pools = [deployment["work_pool"] for deployment in read_yaml(root / applied.PREFECT_YAML)["deployments"]]
    there = {queue.name for queue in client.read_work_queues(work_pool_name=POOL)}
    for name in sorted({pool["work_queue_name"] for pool in pools if "work_queue_name" in pool} - there):
        client.create_work_queue(name, concurrency_limit=1, work_pool_name=POOL)


def _deploy(root: Path) -> None:
    _prefect("deploy", "--all", "--prefect-file", str(root / applied.PREFECT_YAML))


def _put_back(client: SyncPrefectClient, deployment: DeploymentResponse, former: DeploymentResponse) -> None:
    """Give a deployment the schedules and the pause that it had before."""
    kept = [
        DeploymentScheduleUpdate(
            schedule=schedule.schedule, active=schedule.active, parameters=schedule.parameters, slug=schedule.slug
        )
        for schedule in former.schedules
    ]
    client.update_deployment(deployment.id, DeploymentUpdate(schedules=kept, paused=former.paused))


def _prefect(*arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    env = os.environ | origin_without_user()
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="\n", flush=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"prefect {arguments[0]}: {lines[-1].strip() if lines else 'failed'}")


def origin_without_user() -> dict[str, str]:
    """Variables by which git has the origin's address without its user: Prefect stores it with each deployment."""
    asked = ["git", "config", "--get", "remote.origin.url"]
    try:
        origin = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return {}  # no git, or no origin
    count = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    own = {f"GIT_CONFIG_KEY_{count}": "remote.origin.url", f"GIT_CONFIG_VALUE_{count}": without_secrets(origin)}
    return {"GIT_CONFIG_COUNT": str(count + 1), **own}


if __name__ == "__main__":
    sys.exit(main())
