"""Pictures of the pages, by headless Chromium: Prefect's run, MLflow's experiment, pipeline and version, the web page.

    tinygptv up && tinygptv web &      # with a pipeline's runs in them
    python scripts/pictures.py docs    # needs chromium on the PATH (`apt install chromium`)

Chromium is driven by its own protocol (chromedevtools.github.io/devtools-protocol); nothing but websockets is needed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tinygptv.ground import servers as services
from tinygptv.ground.arguments import Parser
from tinygptv.ground.stores import stores_of
from tinygptv.serving.limits import WEB_PORT
from tinygptv.tracking import pages, rest
from tinygptv.tracking.client import experiment_name
from tinygptv.tracking.pipelines import PARENT_TAG

ROOT = Path(__file__).resolve().parents[1]
SIZE = (1400, 1000)
SECONDS = 60.0
SHOWN = """document.body && [document.body.innerText, ...[...document.querySelectorAll('textarea, input')]
    .map(field => field.value)].join(' ')"""
"""The text of a page, with what its fields hold."""


class Page:
    """A tab of the browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._count = 0
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One call of the protocol; what happens in between is passed over."""
        self._count += 1
        self._connection.send(json.dumps({"id": self._count, "method": method, "params": params}))
        while True:
            answer = json.loads(self._connection.recv(timeout=SECONDS))
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def run(self, code: str) -> Any:
        """The value of an expression in the page, promises awaited."""
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{code}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def open(self, url: str, *texts: str) -> None:
        """Go to an address and wait until the page shows all of these texts.

        Raises:
            RuntimeError: it does not, within a minute.
        """
        self.call("Page.navigate", url=url)
        self.wait(*texts)

    def wait(self, *texts: str) -> None:
        """Wait until the page shows all of these texts."""
        deadline = time.monotonic() + SECONDS
        while True:
            shown = self.run(SHOWN) or ""
            missing = [text for text in texts if text.lower() not in shown.lower()]
            if not missing:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"the page does not show {missing[0]!r}; it shows: {shown[:500]}")
            time.sleep(0.25)
        time.sleep(2.0)  # pictures and curves come after the text

    def click(self, text: str) -> None:
        """Click the innermost element that says just this."""
        found = f"[...document.querySelectorAll('*')].filter(e => e.innerText?.trim() === {json.dumps(text)}).pop()"
        self.run(f"{found}.click()")

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an input element."""
        document = self.call("DOM.getDocument", depth=-1)
        node = self.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        self.call("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path)])

    def save(self, path: Path) -> None:
        """What is seen, as PNG."""
        picture = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(picture["data"]))
        print(path)


@contextmanager
def browser() -> Iterator[Page]:
    """A headless Chromium with one tab."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("pictures: no chromium on the PATH; `apt install chromium`")
    with tempfile.TemporaryDirectory(prefix="tinygptv-chromium-", ignore_cleanup_errors=True) as folder:
        command = [program, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
        command += [f"--window-size={SIZE[0]},{SIZE[1]}", "--hide-scrollbars", "--no-first-run", "--disable-gpu"]
        command += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
        process = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = Path(folder) / "DevToolsActivePort"
            deadline = time.monotonic() + SECONDS
            while not port_file.is_file() or not port_file.read_text().strip():
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit("pictures: chromium did not start")
                time.sleep(0.1)
            port = port_file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                tab = next(entry for entry in json.load(answer) if entry["type"] == "page")
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as connection:
                page = Page(connection)
                page.call("Emulation.setDeviceMetricsOverride", width=SIZE[0], height=SIZE[1], deviceScaleFactor=1,
                          mobile=False)  # fmt: skip
                yield page
        finally:
            process.terminate()
            process.wait(10)


def prefect(page: Page, chosen: services.ServerSettings, out: Path, run: str) -> None:
    """A run of the pipeline: its tasks, and its artifacts; the deployments."""
    page.open(chosen.prefect, "Login")
    secret = base64.b64encode(chosen.auth.encode()).decode()
    page.run(f"localStorage.setItem('prefect-password', '{secret}')")
    page.open(f"{chosen.prefect}/runs/flow-run/{run}", "Completed", "Task runs", "pipeline")
    page.save(out / "prefect_run.png")
    page.click("Artifacts")
    page.wait("results", "loss", "mlflow-run", "model-version")
    page.save(out / "prefect_artifacts.png")
    page.click("results")
    page.wait("benchmark", "95 % interval")
    page.save(out / "prefect_results.png")
    page.open(f"{chosen.prefect}/deployments", "nightly", "verify", "promote")
    page.save(out / "prefect_deployments.png")


def newest_run(chosen: services.ServerSettings) -> str:
    """The id of the newest completed run of the flow ``pipeline``, scheduled or by hand."""
    body = {
        "flows": {"name": {"any_": ["pipeline"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        "sort": "END_TIME_DESC",
        "limit": 1,
    }
    request = urllib.request.Request(  # noqa: S310 (the project's own loopback address)
        f"{chosen.prefect_api}/flow_runs/filter",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **basic(chosen.auth)},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        runs = json.load(answer)
    if not runs:
        raise SystemExit("pictures: Prefect holds no completed run of the pipeline; run the deployment `nightly`")
    return str(runs[0]["id"])


def basic(auth: str) -> dict[str, str]:
    """What opens a server."""
    return {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}


def mlflow(page: Page, chosen: services.ServerSettings, out: Path, profile: str, model: str) -> None:
    """The experiment's runs, the newest pipeline among them, and the champion."""
    login = stores_of(chosen).login
    asked = {"experiment_name": experiment_name(profile)}
    experiment = rest.ask(chosen.mlflow, "experiments/get-by-name", asked, login)["experiment"]["experiment_id"]
    page.open(chosen.mlflow, "Experiments")
    page.run("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")  # it would take a third of the page
    page.run("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    page.open("about:blank")
    page.open(pages.of_experiment(chosen.mlflow, experiment), "pipeline")
    page.run("document.querySelectorAll('.ag-row [col-id*=\"Run Name\"] button').forEach(button => button.click())")
    page.wait("stage4", "quantize")
    page.save(out / "mlflow_runs.png")
    asked = {"name": model, "alias": "champion"}
    version = rest.ask(chosen.mlflow, "registered-models/alias", asked, login)["model_version"]
    step = rest.ask(chosen.mlflow, "runs/get", {"run_id": version["run_id"]}, login)["run"]
    parent = next(tag["value"] for tag in step["data"]["tags"] if tag["key"] == PARENT_TAG)
    page.open(pages.of_run(chosen.mlflow, experiment, parent), "Child runs", "seconds.stage4")
    page.save(out / "mlflow_pipeline.png")
    page.open(pages.of_version(chosen.mlflow, model, version["version"]), "champion", "dvc.md5")
    page.save(out / "mlflow_version.png")


def web(page: Page, out: Path, image: Path) -> None:
    """An image asked about."""
    page.open(f"http://127.0.0.1:{WEB_PORT}/", "TinyGPT-V", "Ask")
    page.choose_file("input[type=file]", image)
    time.sleep(2.0)
    fill = (
        "(() => { const box = [...document.querySelectorAll('textarea, input[type=text]')]"
        ".find(e => e.closest('.block')?.innerText.includes('Question'));"
        "box.value = '[grounding] please describe this image in details';"
        " box.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    page.run(fill)
    page.click("Ask")
    page.wait("1 box")
    page.save(out / "web.png")


def main() -> int:
    """Take the pictures."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--model", default="tinygptv")
    parser.add_argument("--run", help="id of a flow run in Prefect; without it the newest that is complete")
    parser.add_argument("--image", type=Path, help="a picture to ask the web page about; without it no picture of it")
    options = parser.parse_args()
    chosen = services.read(ROOT)
    if chosen is None:
        print("pictures: no servers; run `tinygptv up` first", file=sys.stderr)
        return 2
    with browser() as page:
        page.open(chosen.mlflow.replace("//", f"//{chosen.mlflow_auth}@"), "Experiments")  # as a person logs in
        prefect(page, chosen, options.out, options.run or newest_run(chosen))
        mlflow(page, chosen, options.out, options.profile, options.model)
        if options.image is not None:
            web(page, options.out, options.image.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
