import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from src.common.files import hold
from src.grid.ray_node import GUARD, ROOT, Board, Job, Returned, _files_to_return, digest_project, run_on_node
from tests.src.report.helpers import cell_of, finished

WAITS = """
import signal, sys, time
def end(number, frame):
    sys.exit("interrupted by SIGTERM; saved")
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def guarded(tmp_path):
    """guarded("print(1)") starts the guard of a cell whose process runs this code; returns the cell and the guard."""
    started = []

    def start(code):
        script = tmp_path / "script.py"
        script.write_text(code)
        cell = replace(cell_of(tmp_path, "tiny"), script=str(script), flags=())
        command = [sys.executable, "-c", GUARD, str(ROOT)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        process.stdin.write(pickle.dumps(Job(cell, {}, tmp_path / "marker")))
        process.stdin.flush()
        return cell, process

    yield start
    for process in started:
        process.communicate()


def wait_for(cell, text):
    deadline = time.monotonic() + 60
    while not (cell.output.is_file() and text in cell.output.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_prints_how_the_cell_ended(guarded):
    cell, process = guarded("print('hello')")
    end = process.stdout.read()
    assert b'"end": "done"' in end and cell.output.read_text() == "hello\n"


def test_a_byte_is_a_signal(guarded):
    cell, process = guarded(WAITS)
    wait_for(cell, "ready")
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert b'"end": "interrupted", "reason": "interrupted by SIGTERM; saved"' in process.stdout.read()


def test_the_state_is_saved_when_ray_kills_its_processes(guarded):
    """Ray kills the child of its process, and then the process, the other end of standard input."""
    cell, process = guarded(WAITS)
    wait_for(cell, "ready")
    process.kill()
    process.stdin.close()
    process.stdin = None
    wait_for(cell, "interrupted by SIGTERM; saved")


def test_a_cell_of_an_unshared_folder_is_locked_on_the_board(tmp_path):
    """Another driver finds it busy until it has ended, or a node that shares the folder takes over."""
    locks = {"a": tmp_path / "new" / "a.lock"}
    one, other = Board(locks), Board(locks)
    assert one.start("a", "n1", "host", False) == (0, None, "")
    assert other.start("a", "n2", "host", False)[1] == "busy"
    assert one.start("a", "n3", "host", False) == (1, None, "")  # n1 was lost
    assert one.report("a", "step 3") == 0 and one.entries()["a"].line == "step 3"
    assert one.start("a", "n4", "host", True) == (2, None, "")
    os.close(hold(locks["a"], "a"))  # n4 locks it itself
    one.end("a")
    assert one.entries() == {} and other.start("a", "n2", "host", False) == (0, None, "")
    other.end("a")
    os.close(hold(locks["a"], "a"))


def test_no_cell_starts_after_a_signal(tmp_path):
    board = Board({"a": tmp_path / "a", "b": tmp_path / "b"})
    board.start("a", "n1", "host", True)
    board.stop()
    assert board.report("a", "") == 1
    assert board.start("b", "n1", "host", True)[1] == "interrupted"


def test_a_folder_that_cannot_be_made_fails_only_its_cell(tmp_path):
    (tmp_path / "file").touch()
    _, end, reason = Board({"a": tmp_path / "file" / "a"}).start("a", "n1", "host", False)
    assert end == "failed" and str(tmp_path / "file") in reason


def test_another_version_of_the_project_runs_nothing(tmp_path):
    project = digest_project() | {"src/training/loop.py": "0", "src/zzz.py": "1"}
    returned = run_on_node(Job(cell_of(tmp_path, "tiny"), {}, tmp_path), project, tmp_path, board=None)
    assert returned.end == "failed" and "src/training/loop.py" in returned.reason and "2 files" in returned.reason
    assert returned.output == f"error: {returned.reason}\n".encode()


def test_the_project_is_code_and_config():
    paths = digest_project()
    assert {"run_squad.py", "src/grid/pool.py", "processor/__init__.py", "config/tiny.json", "config/tasks/nsmc.json"} <= set(
        paths
    )
    assert not any(Path(path).parts[0] in ("tests", "data", "ckpt", ".venv") for path in paths)


def test_weights_are_not_returned(tmp_path):
    cell = finished(tmp_path)
    for name in ("checkpoint-20/model.safetensors", "resume/state.safetensors", "test/predictions-20.tsv"):
        (cell.folder / name).parent.mkdir()
        (cell.folder / name).write_bytes(b"1")
    names = {"cost.json", "eval_results.json", "settings.json", "test/predictions-20.tsv"}
    assert set(_files_to_return(cell.folder)) == names


def test_returned_can_be_read_from_json():
    assert Returned(**{"end": "done", "reason": "", "seconds": 1.0}).output is None
