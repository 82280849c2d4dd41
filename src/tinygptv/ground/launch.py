"""A stage in several processes of this machine, as ``torchrun`` starts them, with the exit codes of a step.

By this a call of DVC is shared, too: its command, which is in ``dvc.lock``, stays the same for every number.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from collections.abc import Mapping, Sequence

from tinygptv.ground.crew import processes_asked
from tinygptv.ground.processes import die_with_parent

LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set in a process that a launcher has started."""


def processes_to_launch(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes a stage is to be started in; 0: none, for it is one, or was started as one of several.

    Raises:
        UserError: the environment asks for no whole number above 0.
    """
    asked = processes_asked(environment) or 1
    return 0 if asked == 1 or LAUNCHED in environment else asked


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``python -m tinygptv.steps`` in several processes; none of them outlives this one.

    Nobody is started a second time here: whoever called the step knows which faults may pass.

    Args:
        arguments: of the step's command line.
        processes: how many.

    Returns:
        The exit code of the process that ended first where one failed, as shells report it.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    die_with_parent()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
    )
    logging.disable(logging.CRITICAL)  # torch's own words: the processes say why they end
    try:
        elastic_launch(config, sys.executable)("-m", "tinygptv.steps", *arguments)
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code >= 0 else 128 - code
    except SignalException as stop:
        return 128 + stop.sigval
    finally:
        logging.disable(logging.NOTSET)
    return 0
