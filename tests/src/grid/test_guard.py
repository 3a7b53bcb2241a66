import os
import signal
import subprocess
import sys
import time

import pytest

from src.grid import guard

WAITS = """
import signal, sys, time
def end(number, frame):
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def guarded(tmp_path):
    """guarded("print(1)") runs this code under the guard, with its output in tmp_path/output."""
    started = []

    def start(code):
        with open(tmp_path / "output", "wb") as output:
            command = [sys.executable, guard.__file__, sys.executable, "-c", code]
            started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, bufsize=0))
        return started[-1]

    yield start
    for process in started:
        process.communicate()


def wait_for(path, text):
    deadline = time.monotonic() + 60
    while text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("code", "expected"), [("", 0), ("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL)]
)
def test_ends_like_the_command(guarded, code, expected):
    assert guarded(code).wait() == expected


def test_a_byte_is_a_signal(guarded, tmp_path):
    process = guarded(WAITS)
    wait_for(tmp_path / "output", "ready")
    process.stdin.write(b"\n")
    assert process.wait() == 143 and (tmp_path / "output").read_text() == "ready\nsaved\n"


def test_the_state_is_saved_when_ray_kills_its_processes(guarded, tmp_path):
    """Ray kills the child of its process, and then the process, the other end of standard input."""
    process = guarded(WAITS)
    wait_for(tmp_path / "output", "ready")
    process.kill()
    process.stdin.close()
    process.stdin = None
    wait_for(tmp_path / "output", "saved")


def test_the_command_inherits_the_lock_on_its_cell(tmp_path):
    read, write = os.pipe()
    command = [sys.executable, guard.__file__, sys.executable, "-c", f"import os; os.write({write}, b'held')"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[write]):
        assert os.read(read, 4) == b"held"
    os.close(read), os.close(write)
