"""A small stand-in for the Hugging Face hub on the loopback address: model folders served as repositories of one commit."""

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
    """Serves `folder`/<owner>/<name>/ as <owner>/<name>; `asked` holds the method and path of every request."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.cut_off: set[str] = set()  # files whose transfer breaks in the middle

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/tree/[^/]+(?:/.*)?|/revision/[^/]+)?", path):
            repository = self.server.folder / match[1]
            if not repository.is_dir():
                return self._refuse("RepoNotFound", "Repository not found", with_body)
            names = sorted(each.name for each in repository.iterdir())
            if (match[2] or "").startswith("/tree"):
                sizes = {name: (repository / name).stat().st_size for name in names}
                content = [{"type": "file", "path": name, "size": sizes[name], "oid": "0" * 40} for name in names]
                return self._send(json.dumps(content).encode(), with_body)
            info = {"id": match[1], "modelId": match[1], "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            return self._send(json.dumps(info | {"private": False, "tags": [], "downloads": 0}).encode(), with_body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            repository = self.server.folder / match[1]
            if not repository.is_dir():
                return self._refuse("RepoNotFound", "Repository not found", with_body)
            if match[2] not in ("main", COMMIT):
                return self._refuse("RevisionNotFound", "Revision not found", with_body)
            file = repository / match[3]
            if not file.is_file():
                return self._refuse("EntryNotFound", "Entry not found", with_body)
            content = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
            return self._send(content, with_body, headers, cut_off=match[3] in self.server.cut_off)
        return self._refuse("NotFound", "no such address", with_body)

    def _refuse(self, code: str, message: str, with_body: bool) -> None:
        self._send(b"{}", with_body, {"X-Error-Code": code, "X-Error-Message": message}, status=404)

    def _send(
        self, content: bytes, with_body: bool, headers: dict[str, str] | None = None, status: int = 200, cut_off: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "Accept-Ranges": "bytes", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content[: len(content) // 2] if cut_off else content)
            self.close_connection = cut_off


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """A hub of the repositories in `folder`, until the block ends."""
    hub = Hub(folder)
    thread = Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
