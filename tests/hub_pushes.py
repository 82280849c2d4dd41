"""What a hub answers to a push: a repository is made, large files are sent by themselves, one commit names all."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

REVISION = "a" * 40
LARGE = 1000
"""From this many bytes on a file is stored as a large one: under its SHA-256, on another route."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Pushes(BaseHTTPRequestHandler):
    """The half of the hub's handler that takes something."""

    hub: Any

    def take(self, parts: list[str], body: bytes) -> None:
        """What a push sends."""
        name = "/".join(parts[2:4])
        if parts == ["api", "validate-yaml"]:
            self.send_json({"errors": [], "warnings": []})
        elif parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if name in self.hub.files:
                self.send_json({"url": f"{self.hub.address}/{name}", "id": name}, 409)
                return
            self.hub.files[name] = {".gitattributes": b"*.safetensors filter=lfs\n"}
            self.hub.private[name] = asked.get("visibility") == "private" or asked.get("private", False)
            self.send_json({"url": f"{self.hub.address}/{name}", "id": name})
        elif parts[-1] == "batch":
            objects = json.loads(body)["objects"]
            upload = {"href": f"{self.hub.address}/upload", "header": {}}
            self.send_json({"transfer": "basic", "objects": [one | {"actions": {"upload": upload}} for one in objects]})
        elif parts[4] == "preupload":
            asked = json.loads(body)["files"]
            modes = {one["path"]: "lfs" if one["size"] >= LARGE else "regular" for one in asked}
            listed = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            self.send_json({"files": listed})
        else:
            self.send_json(self.commit(name, [json.loads(line) for line in body.splitlines()]))

    def commit(self, name: str, lines: list[dict[str, Any]]) -> dict[str, str]:
        before = self.hub.files[name]
        files = dict(before)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            else:
                del files[value["path"]]
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.hub.commits.setdefault(name, {REVISION: before})[commit] = files
        self.hub.files[name] = files
        return {"commitUrl": f"{self.hub.address}/{name}/commit/{commit}", "commitOid": commit}

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.requests.append((self.command, self.path, None))
        self.hub.uploads[sha256(body)] = body
        self.send_json({})
