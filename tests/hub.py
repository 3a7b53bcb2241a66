"""A small stand-in for the Hugging Face hub on the loopback address: serves folders as repositories with one commit each.

Uploads go into these folders: small files in the commit, others as git-lfs objects. huggingface_hub prefers Xet, which is a
service of its own: uploading processes need HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import importlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
TOKEN = "hf_of-the-loopback-hub"  # who uploads needs it
READ_TOKEN = "hf_that-may-only-read"


def read_environment_again():
    """Make this process use the hub that its environment names now: huggingface_hub read it when it was imported."""
    from huggingface_hub import constants

    importlib.reload(constants)


class Hub(ThreadingHTTPServer):
    """Serves `folder`/<owner>/<name>/ as <owner>/<name> and records method and path of every request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.broken: set[str] = set()  # names of files whose transfer stops halfway
        self.private: set[str] = set()  # names of private repositories
        self.objects: dict[str, bytes] = {}  # git-lfs objects by their sha256

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._respond()

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"POST {path}")
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if token != TOKEN:
            return self._send(b"{}", {"X-Error-Message": "no access"}, status=403 if token == READ_TOKEN else 401)
        for pattern, answer in UPLOADS.items():
            if match := re.fullmatch(pattern, path):
                return answer(self, body, *match.groups())
        return self._send_error("NotFound", "no such address")

    def do_PUT(self) -> None:
        self.server.requests.append(f"PUT {self.path}")
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.objects[hashlib.sha256(content).hexdigest()] = content
        self._send_json({})

    def _create(self, body: bytes) -> None:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        exists = (self.server.folder / name).exists()
        if not exists:
            (self.server.folder / name).mkdir(parents=True)
            self.server.private |= {name} if wanted.get("visibility") == "private" else set()
        self._send_json({"url": f"{self.server.url}/{name}"}, status=409 if exists else 200)

    def _check_card(self, body: bytes) -> None:
        valid = json.loads(body)["content"].startswith("---\nlanguage: ko\n")
        self._send_json({"errors": [] if valid else [{"message": "no metadata"}]}, status=200 if valid else 400)

    def _plan(self, body: bytes, name: str) -> None:
        files = json.loads(body)["files"]
        modes = [
            {"path": file["path"], "uploadMode": "lfs" if ".safetensors" in file["path"] else "regular", "shouldIgnore": False}
            for file in files
        ]
        self._send_json({"files": modes})

    def _accept_objects(self, body: bytes, name: str) -> None:
        actions = {"upload": {"href": f"{self.server.url}/objects"}}
        self._send_json({"objects": [{**entry, "actions": actions} for entry in json.loads(body)["objects"]]})

    def _commit(self, body: bytes, name: str) -> None:
        for entry in map(json.loads, body.splitlines()):
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                content = self.server.objects[entry["value"]["oid"]]
            else:
                continue
            (self.server.folder / name / entry["value"]["path"]).write_bytes(content)
        self._send_json({"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

    def _send_json(self, content: object, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), status=status)

    def _respond(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/tree/[^/]+(?:/.*)?|/revision/[^/]+)?", path):
            self._send_info(match[1], tree=(match[2] or "").startswith("/tree"))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send_file(match[1], match[2], match[3])
        else:
            self._send_error("NotFound", "no such address")

    def _send_info(self, name: str, tree: bool) -> None:
        repository = self.server.folder / name
        if not repository.is_dir():
            return self._send_error("RepoNotFound", "Repository not found")
        files = sorted(repository.iterdir())
        if tree:
            entries = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40} for file in files]
            return self._send(json.dumps(entries).encode())
        info = {"id": name, "modelId": name, "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files]}
        return self._send(json.dumps(info | {"private": name in self.server.private, "tags": [], "downloads": 0}).encode())

    def _send_file(self, name: str, revision: str, path: str) -> None:
        repository = self.server.folder / name
        if not repository.is_dir():
            return self._send_error("RepoNotFound", "Repository not found")
        if revision not in ("main", COMMIT):
            return self._send_error("RevisionNotFound", "Revision not found")
        if not (repository / path).is_file():
            return self._send_error("EntryNotFound", "Entry not found")
        content = (repository / path).read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self._send(content, headers, broken=path in self.server.broken)

    def _send_error(self, code: str, message: str) -> None:
        self._send(b"{}", {"X-Error-Code": code, "X-Error-Message": message}, status=404)

    def _send(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200, broken: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if broken else content)
            self.close_connection = broken


UPLOADS = {
    "/api/repos/create": _Handler._create,
    "/api/validate-yaml": _Handler._check_card,
    "/api/models/([^/]+/[^/]+)/preupload/main": _Handler._plan,
    "/([^/]+/[^/]+)[.]git/info/lfs/objects/batch": _Handler._accept_objects,
    "/api/models/([^/]+/[^/]+)/commit/main": _Handler._commit,
}


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """Serve the repositories in `folder` until the block ends."""
    hub = Hub(folder)
    thread = Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
