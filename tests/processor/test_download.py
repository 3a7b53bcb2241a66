"""Against a server on the loopback address that misbehaves as told; the published files' names, contents of our own."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from processor import download
from processor.data_files import git_blob
from src.errors import EnvironmentFailure
from tests.conftest import ROOT, SAMPLE

NAMES = ("nsmc/ratings_train.txt", "nsmc/ratings_test.txt")
CONTENTS = {name: (SAMPLE / name).read_bytes() for name in NAMES}


class Server(ThreadingHTTPServer):
    """Serves CONTENTS; `faults` holds for the next requests what goes wrong, "" for nothing."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = []
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/data"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        content = CONTENTS.get(self.path.removeprefix("/data/"), b"")
        if fault in ("404", "500"):
            self.send_response(int(fault))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "wrong":
            content = b"<html>Please log in</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(content[:100])
            self.close_connection = True
        elif fault == "slow":
            for start in range(0, len(content), len(content) // 5):
                self.wfile.write(content[start : start + len(content) // 5])
                self.wfile.flush()
                time.sleep(0.2)
        else:
            self.wfile.write(content)


@pytest.fixture
def server():
    found = Server()
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def sample_is_published(monkeypatch):
    """The sample's files count as the published ones."""
    files = {
        name: {"git_blob": git_blob(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in CONTENTS.items()
    }
    monkeypatch.setattr(download, "data_file_digests", lambda: ("http://127.0.0.1:9", files))
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # pooch waits between attempts
    return files


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("faults", [[], ["500"], ["cut"], ["500", "cut", "500"], ["slow"]])
def test_a_file_is_there_in_the_end(server, sample_is_published, tmp_path, faults, caplog):
    server.faults = list(faults)
    with caplog.at_level("INFO"):
        download.fetch(NAMES, tmp_path, server.url)
    assert names_below(tmp_path) == sorted(NAMES)
    assert all((tmp_path / name).read_bytes() == content for name, content in CONTENTS.items())
    assert caplog.text.count("NSMC: https://github.com/e9t/nsmc; licence: CC0 1.0") == 1
    assert len(server.asked) == 2 + len([fault for fault in faults if fault != "slow"])


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (["404"] * 9, "nsmc/ratings_train.txt cannot be fetched: the server answers 404"),
        (["500"] * 9, "the server answers 500"),
        (["cut"] * 9, "127.0.0.1 cannot be reached, or the transfer broke"),
        (["wrong"] * 9, "what came is not the published file: 26 bytes with sha256"),
    ],
)
def test_a_file_that_cannot_be_had_is_not_there(server, sample_is_published, tmp_path, faults, expected):
    server.faults = list(faults)
    with pytest.raises(EnvironmentFailure) as caught:
        download.fetch(NAMES[:1], tmp_path, server.url)
    assert expected in str(caught.value)
    assert "ratings_train.txt" in str(caught.value)
    assert names_below(tmp_path) == []
    assert not (tmp_path / "nsmc").exists()


def test_without_a_server_the_message_says_what_to_put_where(sample_is_published, tmp_path):
    with pytest.raises(EnvironmentFailure) as caught:
        download.fetch(NAMES, tmp_path)
    assert str(caught.value).splitlines()[1:] == [f"  - http://127.0.0.1:9/{name} belongs at {tmp_path}/{name}" for name in NAMES]


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_a_folder_as_a_mirror(sample_is_published, tmp_path, form):
    download.fetch(NAMES, tmp_path, form.format(SAMPLE))
    assert names_below(tmp_path) == sorted(NAMES)
    (tmp_path / "mirror" / "nsmc").mkdir(parents=True)
    (tmp_path / "mirror" / NAMES[0]).write_text("another")
    for name, expected in ((NAMES[0], "what came is not the published file"), (NAMES[1], "mirror does not hold it")):
        with pytest.raises(EnvironmentFailure, match=expected):
            download.fetch([name], tmp_path / "new", form.format(tmp_path / "mirror"))
    assert names_below(tmp_path / "new") == []


def test_a_fetched_file_is_for_all(server, sample_is_published, tmp_path):
    before = os.umask(0o022)
    try:
        download.fetch(NAMES[:1], tmp_path, server.url)
    finally:
        os.umask(before)
    assert (tmp_path / NAMES[0]).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fault", ["a file", "full"])
def test_a_disk_that_does_not_take_it(server, sample_is_published, tmp_path, monkeypatch, fault):
    if fault == "a file":
        (tmp_path / "data").write_text("no folder")
    else:

        def full(*arguments, **options):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(download, "_transfer", full)
    with pytest.raises(EnvironmentFailure, match=r"cannot be written: (Not a directory|No space left|File exists)"):
        download.fetch(NAMES[:1], tmp_path / "data", server.url)


def test_two_at_once(server, sample_is_published, tmp_path):
    server.faults = ["slow", "slow", "slow", "slow"]
    errors = []

    def fetch():
        try:
            download.fetch(NAMES, tmp_path, server.url)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names_below(tmp_path) == sorted(NAMES)
    assert all((tmp_path / name).read_bytes() == content for name, content in CONTENTS.items())


class Given:
    """The settings that say where data lies."""

    def __init__(self, data_dir, url, download=True):
        self.data_dir, self.data_url, self.download = data_dir, url, download
        self.data_files = {split: data_dir / name for split, name in zip(("train", "test"), NAMES, strict=True)}


def test_a_run_fetches_what_it_lacks_into_the_default_folder_alone(server, sample_is_published, tmp_path, monkeypatch):
    from src.errors import DataError

    for settings in (Given(tmp_path / "mistyped", server.url), Given(tmp_path, server.url, download=False)):
        with pytest.raises(DataError, match=r"ratings_train\.txt \(train\): no such file"):
            download.find_files(settings)
    assert server.asked == []
    monkeypatch.setattr(download, "DATA_DIR", tmp_path)
    (tmp_path / "nsmc").mkdir()
    (tmp_path / NAMES[0]).write_text("mine")  # a file that is there is used, whatever it holds
    files = download.find_files(Given(tmp_path, server.url))
    assert server.asked == [f"/data/{NAMES[1]}"]
    assert {split: file.status for split, file in files.items()} == {"train": "other", "test": "other"}
    assert (tmp_path / NAMES[0]).read_text() == "mine"


def test_the_default_folder_is_that_of_the_settings():
    from src.settings import Settings

    assert Settings.model_fields["data_dir"].default == download.DATA_DIR


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "processor.download", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )


def test_the_list(tmp_path):
    (tmp_path / "nsmc").mkdir()
    (tmp_path / NAMES[0]).write_bytes(CONTENTS[NAMES[0]])
    done = run("nsmc", "--data_dir", tmp_path, "--list")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "NSMC: https://github.com/e9t/nsmc; licence: CC0 1.0",
        f"  missing      {tmp_path}/nsmc/ratings_test.txt",
        f"  another file {tmp_path}/nsmc/ratings_train.txt",
    ]
    assert len(run("--data_dir", tmp_path, "--list").stdout.splitlines()) == 8 + 20


def test_commands_that_cannot_work(server, tmp_path):
    unknown = run("nmsc")
    assert (unknown.returncode, "Did you mean 'nsmc'?" in unknown.stderr) == (2, True)
    # The real command: what the server gives for NSMC is the sample, and that is not the published file.
    wrong = run("nsmc", "--data_dir", tmp_path, "--data_url", server.url)
    assert wrong.returncode == 1
    assert "ratings_test.txt cannot be fetched: what came is not the published file" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert names_below(tmp_path) == []


def test_the_published_files_have_an_address_and_digests():
    content = json.loads((ROOT / "processor" / "data_files.json").read_text())
    assert content["url"].startswith(
        "https://raw.githubusercontent.com/monologg/KoELECTRA/024fbdd600e653b6e4bdfc64ceec84181b5ce6c4/"
    )
    assert len(content["files"]) == 20
    assert all(len(facts["git_blob"]) == 40 and facts["rows"] > 400 for facts in content["files"].values())
    assert sum("sha256" in facts for facts in content["files"].values()) == 14
