"""Downloads from a local server with faults. The files have the names of published ones and the contents of the sample."""

import errno
import hashlib
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from processor import download
from processor.data_files import git_blob
from processor.definition import TASKS
from src import pipeline
from src.common.errors import EnvironmentFailure
from src.data.task import PublishedFile
from tests.commands import run_script
from tests.conftest import SAMPLE, SAMPLED_TASKS

FILES = ("ratings_train.txt", "ratings_test.txt")
NAMES = tuple(f"nsmc/{file}" for file in FILES)
CONTENTS = {name: (SAMPLE / name).read_bytes() for name in NAMES}
# nsmc, with the sample's files as the published ones.
TASK = TASKS["nsmc"].model_copy(
    update={
        "files": {
            name.split("/")[1]: PublishedFile(
                url=f"http://127.0.0.1:9/{name}", git_blob=git_blob(content), sha256=hashlib.sha256(content).hexdigest(), rows=1
            )
            for name, content in CONTENTS.items()
        }
    }
)


class Server(ThreadingHTTPServer):
    """Serves CONTENTS. `faults`: what goes wrong with the next requests, "" for nothing."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = []
        self.requests = []
        self.url = f"http://127.0.0.1:{self.server_port}/data"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.requests.append(self.path)
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
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between pooch's attempts


def names_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("faults", [[], ["500"], ["cut"], ["500", "cut", "500"], ["slow"]])
def test_downloads_despite_faults(server, tmp_path, faults, caplog):
    server.faults = list(faults)
    with caplog.at_level("INFO"):
        download.fetch("nsmc", TASK, FILES, tmp_path, server.url)
    assert names_below(tmp_path) == sorted(NAMES)
    assert all((tmp_path / name).read_bytes() == content for name, content in CONTENTS.items())
    assert caplog.text.count("NSMC: https://github.com/e9t/nsmc; licence: CC0 1.0") == 1
    assert len(server.requests) == 2 + len([fault for fault in faults if fault != "slow"])


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        (["404"] * 9, "404"),
        (["500"] * 9, "500"),
        (["cut"] * 9, "127.0.0.1"),
        (["wrong"] * 9, "26 bytes with sha256"),
    ],
)
def test_a_failed_download_leaves_no_file(server, tmp_path, faults, expected):
    server.faults = list(faults)
    with pytest.raises(EnvironmentFailure) as caught:
        download.fetch("nsmc", TASK, FILES[:1], tmp_path, server.url)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("nsmc/ratings_train.txt")
    assert names_below(tmp_path) == []
    assert not (tmp_path / "nsmc").exists()


def test_without_a_server_the_message_lists_where_files_belong(tmp_path):
    with pytest.raises(EnvironmentFailure) as caught:
        download.fetch("nsmc", TASK, FILES, tmp_path)
    assert str(caught.value).splitlines()[1:] == [f"  - http://127.0.0.1:9/{name} belongs at {tmp_path}/{name}" for name in NAMES]


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_copies_from_a_folder(tmp_path, form):
    download.fetch("nsmc", TASK, FILES, tmp_path, form.format(SAMPLE))
    assert names_below(tmp_path) == sorted(NAMES)
    (tmp_path / "mirror" / "nsmc").mkdir(parents=True)
    (tmp_path / "mirror" / NAMES[0]).write_text("another")
    for name, expected in ((FILES[0], "not the published file"), (FILES[1], f"no file {tmp_path}/mirror/nsmc/{FILES[1]}")):
        with pytest.raises(EnvironmentFailure, match=expected):
            download.fetch("nsmc", TASK, [name], tmp_path / "new", form.format(tmp_path / "mirror"))
    assert names_below(tmp_path / "new") == []


def test_a_downloaded_file_has_the_usual_permissions(server, tmp_path):
    before = os.umask(0o022)
    try:
        download.fetch("nsmc", TASK, FILES[:1], tmp_path, server.url)
    finally:
        os.umask(before)
    assert (tmp_path / NAMES[0]).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fault", ["a file", "full"])
def test_reports_a_disk_that_cannot_be_written(server, tmp_path, monkeypatch, fault):
    if fault == "a file":
        (tmp_path / "data").write_text("no folder")
    else:

        def full(*arguments, **options):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(download, "_transfer", full)
    with pytest.raises(EnvironmentFailure, match=r"cannot be written: (Not a directory|No space left|File exists)"):
        download.fetch("nsmc", TASK, FILES[:1], tmp_path / "data", server.url)


def test_two_downloads_at_the_same_time(server, tmp_path):
    server.faults = ["slow", "slow", "slow", "slow"]
    errors = []

    def fetch():
        try:
            download.fetch("nsmc", TASK, FILES, tmp_path, server.url)
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


class DataSettings:
    """The settings that find_files reads."""

    def __init__(self, data_dir, url, download=True):
        self.task, self.data_dir, self.data_url, self.download = "nsmc", data_dir, url, download
        self.data_files = {split: data_dir / name for split, name in zip(("train", "test"), NAMES, strict=True)}


def test_a_run_downloads_missing_files_into_the_default_folder_only(server, tmp_path, monkeypatch):
    from src.common.errors import DataError

    for settings in (DataSettings(tmp_path / "mistyped", server.url), DataSettings(tmp_path, server.url, download=False)):
        with pytest.raises(DataError, match=r"ratings_train\.txt \(train\): no such file"):
            pipeline.find_files(settings, TASK)
    assert server.requests == []
    monkeypatch.setattr(pipeline, "DATA_DIR", tmp_path)
    (tmp_path / "nsmc").mkdir()
    (tmp_path / NAMES[0]).write_text("mine")  # existing files are used whatever they contain
    files = pipeline.find_files(DataSettings(tmp_path, server.url), TASK)
    assert server.requests == [f"/data/{NAMES[1]}"]
    assert {split: file.status for split, file in files.items()} == {"train": "other", "test": "published"}
    assert (tmp_path / NAMES[0]).read_text() == "mine"


def test_the_default_folder_is_the_default_setting():
    from src.settings.schema import Settings

    assert Settings.model_fields["data_dir"].default == pipeline.DATA_DIR


def run(*arguments):
    return run_script("processor.download", *map(str, arguments))


def test_lists_files(tmp_path):
    (tmp_path / "nsmc").mkdir()
    (tmp_path / NAMES[0]).write_bytes(CONTENTS[NAMES[0]])
    done = run("nsmc", "--data_dir", tmp_path, "--list")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "NSMC: https://github.com/e9t/nsmc; licence: CC0 1.0",
        f"  missing      {tmp_path}/nsmc/ratings_test.txt",
        f"  another file {tmp_path}/nsmc/ratings_train.txt",
    ]


@pytest.mark.parametrize(("chosen", "suites"), [((), ["koelectra"]), (("klue", "nsmc"), ["klue"])])
def test_lists_the_tasks_of_suites(tmp_path, chosen, suites):
    """Without a task: those of the published table."""
    tasks = [name for name, task in TASKS.items() if task.suite in suites or name in chosen]
    lines = run(*chosen, "--data_dir", tmp_path, "--list").stdout.splitlines()
    assert {Path(line.split()[-1]).parent.name for line in lines if line.startswith(" ")} == set(tasks)
    assert len(lines) == sum(1 + len(TASKS[name].files) for name in tasks)


def test_rejects_wrong_commands(server, tmp_path):
    unknown = run("nmsc")
    assert (unknown.returncode, "Did you mean 'nsmc'?" in unknown.stderr) == (2, True)
    # In the real command the sample's files are not the published ones.
    wrong = run("nsmc", "--data_dir", tmp_path, "--data_url", server.url)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("NSMC: https://github.com/e9t/nsmc; licence: ")
    assert "nsmc/ratings_test.txt" in wrong.stderr and "not the published file" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    assert names_below(tmp_path) == []


def test_the_published_files_come_from_one_commit():
    commit = "https://raw.githubusercontent.com/monologg/KoELECTRA/024fbdd600e653b6e4bdfc64ceec84181b5ce6c4/finetune/data"
    for name in SAMPLED_TASKS:
        assert {file.url for file in TASKS[name].files.values()} == {f"{commit}/{name}/{file}" for file in TASKS[name].files}
        assert all(file.rows > 400 for file in TASKS[name].files.values())
