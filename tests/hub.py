"""A small stand-in for the Hugging Face hub on the loopback address: serves folders as repositories with one commit each."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class Hub(ThreadingHTTPServer):
    """Serves `folder`/<owner>/<name>/ as <owner>/<name> and records method and path of every request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.broken: set[str] = set()  # names of files whose transfer stops halfway

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
        return self._send(json.dumps(info | {"private": False, "tags": [], "downloads": 0}).encode())

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
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if broken else content)
            self.close_connection = broken


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
