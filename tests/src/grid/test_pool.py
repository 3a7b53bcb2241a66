import os
import signal
import threading
import time
from collections import deque

import pytest

from src.common.errors import Interrupted
from src.common.signals import handling
from src.grid import pool as pool_module
from src.grid.cells import Cell
from src.grid.devices import NO_ACCELERATOR, Device
from src.grid.pool import Pool, start
from tests.src.helpers import DEFAULTS

CPU = Device("cpu", NO_ACCELERATOR)


@pytest.fixture(autouse=True)
def poll_often(monkeypatch):
    monkeypatch.setattr(pool_module, "POLL", 0.01)


@pytest.fixture(autouse=True)
def not_under_nohup():
    with handling([signal.SIGHUP], signal.SIG_DFL):
        yield


@pytest.fixture
def cell(tmp_path):
    """cell("a", "print(1)") is a cell whose process runs this code instead of a run script."""

    def make(name, code):
        script = tmp_path / f"{name}.py"
        script.write_text(code)
        settings = DEFAULTS.model_copy(update={"ckpt_dir": str(tmp_path / "ckpt"), "output_dir": f"benchmark/{name}/nsmc/seed-1"})
        return Cell(name, "nsmc", 1, str(script), ("--task", "nsmc"), settings)

    return make


def ignore(pool, outcomes):
    pass


def ended(cells, devices=(CPU,), update=ignore):
    """Run the cells; return how each ended and why, by model."""
    pool = Pool(deque(cells), list(devices))
    pool.run(update)
    assert not pool.waiting and not pool.running
    return {outcome.cell.model: (outcome.end, outcome.reason) for outcome in pool.ended}


def test_output_is_written_next_to_the_run_folder(cell):
    one = cell("one", "import sys; print(sys.argv[1:]); print('late', file=sys.stderr)")
    assert ended([one]) == {"one": ("done", "")}
    assert one.output.read_text() == "['--task', 'nsmc']\nlate\n"
    assert not one.folder.exists()


def test_reasons_of_failures(cell):
    outcomes = ended(
        [
            cell("wrong", "import sys; sys.exit('error: no such file. Put it there.')"),
            cell("bug", "1 / 0"),
            cell("silent", "import sys; sys.exit(7)"),
            cell("killed", "import os; os.kill(os.getpid(), 9)"),
            cell("fine", ""),
        ]
    )
    assert outcomes["wrong"] == ("failed", "no such file. Put it there.")
    assert outcomes["bug"] == ("failed", "exit code 1: ZeroDivisionError: division by zero")
    assert outcomes["silent"] == ("failed", "exit code 7: no output")
    assert outcomes["killed"][0] == "failed" and "SIGKILL" in outcomes["killed"][1]
    assert outcomes["fine"] == ("done", "")


def test_one_cell_per_device(cell):
    """Six cells on two devices: at any time at most one runs on each device."""
    devices = [Device("a", {"PLACE": "a"}), Device("b", {"PLACE": "b"})]
    cells = [cell(f"c{number}", "import os, time; print(os.environ['PLACE']); time.sleep(0.2)") for number in range(6)]
    in_use = set()
    ended(cells, devices, lambda pool, _: in_use.add(tuple(sorted(running.device.name for running in pool.running))))
    assert in_use <= {("a", "b"), ("a",), ("b",), ()}
    assert ("a", "b") in in_use
    assert {cell.output.read_text() for cell in cells} == {"a\n", "b\n"}


def test_a_device_named_twice_takes_two_cells(cell):
    counts = []
    cells = [cell(f"c{number}", "import time; time.sleep(0.3)") for number in range(3)]
    ended(cells, [CPU, CPU], lambda pool, _: counts.append(len(pool.running)))
    assert max(counts) == 2


def test_reports_each_outcome_once(cell):
    reported = []
    cells = [cell(f"c{number}", "") for number in range(3)]
    ended(cells, [CPU, CPU], lambda pool, outcomes: reported.extend(outcome.cell.model for outcome in outcomes))
    assert sorted(reported) == ["c0", "c1", "c2"]


WAITS = """
import signal, sys, time
def end(number, frame):
    print("interrupted by SIGTERM; saved")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    {}
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


def interrupted(pool, cells, number, times=1):
    """Run the pool and send this process the signal when all of `cells` are ready."""

    def send():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if all(cell.output.exists() and "ready" in cell.output.read_text() for cell in cells):
                break
            time.sleep(0.02)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Interrupted) as caught:
        pool.run(ignore)
    thread.join()
    return caught.value


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_lets_running_cells_save_their_state(cell, number, code):
    """Waiting cells do not start, and no process is left behind."""
    cells = [cell("a", WAITS.format("")), cell("b", WAITS.format(""))]
    pool = Pool(deque([*cells, cell("c", "")]), [CPU, CPU])
    error = interrupted(pool, cells, number)
    assert error.exit_code == code and signal.Signals(number).name in str(error)
    assert [cell.output.read_text() for cell in cells] == ["ready\ninterrupted by SIGTERM; saved\n"] * 2
    assert [cell.model for cell in pool.waiting] == ["c"]
    assert not pool.running and {outcome.end for outcome in pool.ended} == {"interrupted"}


def test_a_process_killed_by_the_forwarded_signal_is_interrupted(cell):
    one = cell("a", "import time; print('ready', flush=True); time.sleep(60)")
    pool = Pool(deque([one]), [CPU])
    interrupted(pool, [one], signal.SIGINT)
    assert [outcome.end for outcome in pool.ended] == ["interrupted"]
    assert one.output.read_text() == "ready\n"


def test_processes_are_in_sessions_of_their_own(cell):
    started = start(cell("a", "import os; print(os.getpgrp())"), CPU)
    started.process.wait()
    os.close(started.lock)
    assert int(started.cell.output.read_text()) == started.process.pid != os.getpgrp()


def test_a_cell_can_run_again_after_it_has_ended(cell):
    one = cell("a", "")
    assert ended([one]) == ended([one]) == {"a": ("done", "")}


def test_a_second_signal_stops_at_once(cell):
    stubborn = cell("a", WAITS.format("time.sleep(60)"))
    before = time.monotonic()
    interrupted(Pool(deque([stubborn]), [CPU]), [stubborn], signal.SIGINT, times=2)
    assert time.monotonic() - before < 50


def test_leaves_cells_alone_that_another_process_is_running(cell):
    """The process of a cell outlives a grid that was killed."""
    waits = cell("a", WAITS.format(""))
    other = start(waits, CPU)
    os.close(other.lock)  # as if this process had died
    while "ready" not in waits.output.read_text():
        time.sleep(0.02)
    end, reason = ended([waits])["a"]
    assert end == "busy" and f"process {other.process.pid} " in reason and "a/nsmc/seed-1" in reason
    assert waits.output.read_text() == "ready\n"
    other.process.terminate()
    other.process.wait()
    again = start(waits, CPU)
    again.process.kill()
    again.process.wait()
    os.close(again.lock)


def test_a_folder_that_cannot_be_made_fails_only_its_cell(cell):
    blocked = cell("a", "")
    blocked.output.parent.parent.mkdir(parents=True)
    blocked.output.parent.touch()
    outcomes = ended([blocked, cell("b", "")])
    assert outcomes["b"] == ("done", "")
    assert outcomes["a"] == ("failed", f"{blocked.output.parent}: File exists")


def test_continues_when_the_terminal_is_closed(cell):
    def update(pool, outcomes):
        raise OSError(5, "Input/output error")

    assert ended([cell("a", "")], update=update) == {"a": ("done", "")}


def test_an_exception_leaves_no_process_behind(cell):
    waits = cell("a", WAITS.format(""))

    def update(pool, outcomes):
        if waits.output.exists() and "ready" in waits.output.read_text():
            raise KeyError

    pool = Pool(deque([waits]), [CPU])
    with pytest.raises(KeyError):
        pool.run(update)
    assert "interrupted" in waits.output.read_text()


def test_restores_signal_handlers(cell):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    ended([cell("a", "")])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
