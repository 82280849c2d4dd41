"""``tinygptv serve`` and ``tinygptv web``."""

from __future__ import annotations

from importlib.util import find_spec
from socket import socket
from typing import Annotated

import typer

from tinygptv.commands.options import DeviceOption, finite
from tinygptv.ground.errors import UserError
from tinygptv.serving.limits import CHALLENGER, CHAMPION, SERVE_PORT, WEB_PORT, ServiceLimits

DEFAULTS = ServiceLimits()
UngatedOption = Annotated[
    bool, typer.Option("--ungated", help="Serve what an alias names though its gate did not pass.")
]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of the loopback; 0: a free one.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command()(serve)
    app.command()(web)


def serve(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help=f"Folders or addresses of the registry (default: {CHAMPION})."),
    ] = None,
    port: PortOption = SERVE_PORT,
    device: DeviceOption = "cpu",
    batch: Annotated[int, typer.Option(min=1, help="Answers under way at once.")] = DEFAULTS.max_batch,
    queue: Annotated[int, typer.Option(min=1, help="Requests at once; beyond it: 429.")] = DEFAULTS.max_requests,
    poll: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="Seconds between looks whether an alias has moved.")
    ] = DEFAULTS.poll_seconds,
    ungated: UngatedOption = False,
) -> None:
    """Answer over HTTP in OpenAI's form, until Ctrl-C.

    On this machine's loopback (docs/serving.md).
    """
    listener = _listen(port, sources or [CHAMPION])
    from tinygptv.serving import server
    from tinygptv.serving.app import create_app
    from tinygptv.serving.engine import Engine
    from tinygptv.serving.models import Models

    limits = ServiceLimits(max_batch=batch, max_requests=queue, poll_seconds=poll)
    models = Models(sources or [CHAMPION], device, ungated=ungated)
    models.load()
    app = create_app(Engine(models, limits))
    server.serve(app, listener, limits.stop_seconds, models.versions())


def web(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help=f"Models to choose from (default: {CHAMPION} and {CHALLENGER})."),
    ] = None,
    port: PortOption = WEB_PORT,
    device: DeviceOption = "cpu",
    ungated: UngatedOption = False,
) -> None:
    """Show a page to ask about images, until Ctrl-C.

    The service of `serve` is beside it (docs/serving.md).
    """
    if find_spec("gradio") is None:
        raise UserError("the page needs gradio; run `pip install -c constraints.txt -e '.[web]'`")
    listener = _listen(port, sources or [CHAMPION])
    from tinygptv.serving import server
    from tinygptv.serving.engine import Engine
    from tinygptv.serving.models import Models
    from tinygptv.web.page import create_app

    limits = ServiceLimits()
    optional = () if sources else (CHAMPION, CHALLENGER)
    models = Models(sources or optional, device, optional=optional, ungated=ungated)
    models.load()
    with create_app(Engine(models, limits)) as app:
        server.serve(app, listener, limits.stop_seconds, models.versions())


def _listen(port: int, sources: list[str]) -> socket:
    """The port, where it is free and there is something to serve on it: both are told before anything is loaded."""
    from tinygptv.serving import server
    from tinygptv.tracking import check_source

    listener = server.bind(port)
    for source in sources:
        check_source(source)
    return listener
