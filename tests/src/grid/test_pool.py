import os
import signal
import threading
import time
from collections import deque

import pytest

from src.errors import ConfigError, Interrupted
from src.grid import pool as pool_module
from src.grid.cells import Cell
from src.grid.pool import Device, Pool, parse_devices, start
from src.signals import handling
from tests.src.helpers import DEFAULTS

CPU = Device("cpu", {"CUDA_VISIBLE_DEVICES": ""})


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(pool_module, "POLL", 0.01)


@pytest.fixture(autouse=True)
def nobody_said_nohup():
    with handling([signal.SIGHUP], signal.SIG_DFL):
        yield


@pytest.fixture
def cell(tmp_path):
    """cell("a", "print(1)") is a cell whose process runs this instead of a run script."""

    def make(name, code):
        script = tmp_path / f"{name}.py"
        script.write_text(code)
        settings = DEFAULTS.model_copy(update={"ckpt_dir": str(tmp_path / "ckpt"), "output_dir": f"benchmark/{name}/nsmc/seed-1"})
        return Cell(name, "nsmc", 1, str(script), ("--task", "nsmc"), settings)

    return make


def ended(cells, devices=(CPU,), show=lambda pool: None):
    pool = Pool(deque(cells), list(devices))
    pool.run(show)
    assert not pool.waiting and not pool.running
    return {outcome.cell.model: (outcome.end, outcome.why) for outcome in pool.ended}


def test_what_a_process_says_lies_beside_its_folder(cell):
    one = cell("one", "import sys; print(sys.argv[1:]); print('late', file=sys.stderr)")
    assert ended([one]) == {"one": ("done", "")}
    assert one.output.read_text() == "['--task', 'nsmc']\nlate\n"
    assert not one.folder.exists()


def test_why_runs_failed(cell):
    found = ended(
        [
            cell("wrong", "import sys; sys.exit('error: no such file. Put it there.')"),
            cell("bug", "1 / 0"),
            cell("silent", "import sys; sys.exit(7)"),
            cell("killed", "import os; os.kill(os.getpid(), 9)"),
            cell("fine", ""),
        ]
    )
    assert found == {
        "wrong": ("failed", "no such file. Put it there."),
        "bug": ("failed", "ended with code 1: ZeroDivisionError: division by zero"),
        "silent": ("failed", "ended with code 7: nothing was said"),
        "killed": ("failed", "ended by SIGKILL, maybe as there was too little memory"),
        "fine": ("done", ""),
    }


def test_one_cell_a_device(cell):
    """Each says where it is; of six cells two are at work at any time, one on each device."""
    devices = [Device("a", {"PLACE": "a"}), Device("b", {"PLACE": "b"})]
    cells = [cell(f"c{number}", "import os, time; print(os.environ['PLACE']); time.sleep(0.2)") for number in range(6)]
    at_work = set()

    def show(pool):
        at_work.add(tuple(sorted(each.device.name for each in pool.running)))

    ended(cells, devices, show)
    assert at_work <= {("a", "b"), ("a",), ("b",), ()}
    assert ("a", "b") in at_work
    assert {each.output.read_text() for each in cells} == {"a\n", "b\n"}


def test_a_device_that_is_named_twice_takes_two(cell):
    most = []
    ended([cell(f"c{n}", "import time; time.sleep(0.3)") for n in range(3)], [CPU, CPU], lambda p: most.append(len(p.running)))
    assert max(most) == 2


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
    """Run the pool, and when all its first cells are ready send ourselves the signal."""

    def ask():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if all(each.output.exists() and "ready" in each.output.read_text() for each in cells):
                break
            time.sleep(0.02)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(Interrupted) as caught:
        pool.run(lambda pool: None)
    thread.join()
    return caught.value


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_them_with_their_state_saved(cell, number, code):
    """What waits does not start, and nothing stays behind."""
    cells = [cell("a", WAITS.format("")), cell("b", WAITS.format(""))]
    pool = Pool(deque([*cells, cell("c", "")]), [CPU, CPU])
    error = interrupted(pool, cells, number)
    assert (error.exit_code, str(error)) == (
        code,
        f"interrupted by {signal.Signals(number).name}; the same command goes on from there",
    )
    assert [each.output.read_text() for each in cells] == ["ready\ninterrupted by SIGTERM; saved\n"] * 2
    assert [each.model for each in pool.waiting] == ["c"]
    assert not pool.running and {outcome.end for outcome in pool.ended} == {"interrupted"}


def test_who_dies_of_our_signal_has_not_failed(cell):
    one = cell("a", "import time; print('ready', flush=True); time.sleep(60)")
    pool = Pool(deque([one]), [CPU])
    interrupted(pool, [one], signal.SIGINT)
    assert [outcome.end for outcome in pool.ended] == ["interrupted"]
    assert one.output.read_text() == "ready\n"


def test_a_ctrl_c_on_the_terminal_reaches_only_us(cell):
    started = start(cell("a", "import os; print(os.getpgrp())"), CPU)
    started.process.wait()
    os.close(started.lock)
    assert int(started.cell.output.read_text()) == started.process.pid != os.getpgrp()


def test_a_cell_is_free_again_when_it_has_ended(cell):
    one = cell("a", "")
    assert ended([one]) == ended([one]) == {"a": ("done", "")}


def test_a_second_signal_does_not_wait(cell):
    stubborn = cell("a", WAITS.format("time.sleep(60)"))
    before = time.monotonic()
    interrupted(Pool(deque([stubborn]), [CPU]), [stubborn], signal.SIGINT, times=2)
    assert time.monotonic() - before < 50


def test_somebody_else_is_at_work(cell):
    """As the process of a grid whose own process was killed: it is let alone, and so is what it says."""
    waits = cell("a", WAITS.format(""))
    other = start(waits, CPU)
    os.close(other.lock)  # as our death would do
    while "ready" not in waits.output.read_text():
        time.sleep(0.02)
    assert ended([waits]) == {
        "a": ("busy", f"process {other.process.pid} is using a/nsmc/seed-1. Wait for it, or use another folder.")
    }
    assert waits.output.read_text() == "ready\n"
    other.process.terminate()
    other.process.wait()
    again = start(waits, CPU)
    again.process.kill()
    again.process.wait()
    os.close(again.lock)


def test_a_folder_that_cannot_be_made_fails_one_cell(cell):
    blocked = cell("a", "")
    blocked.output.parent.parent.mkdir(parents=True)
    blocked.output.parent.touch()
    found = ended([blocked, cell("b", "")])
    assert found["b"] == ("done", "")
    assert found["a"] == ("failed", f"{blocked.output.parent}: File exists")


def test_a_terminal_that_went_away_ends_nothing(cell):
    def show(pool):
        raise OSError(5, "Input/output error")

    assert ended([cell("a", "")], show=show) == {"a": ("done", "")}


def test_nothing_stays_behind_where_we_fail(cell):
    waits = cell("a", WAITS.format(""))

    def show(pool):
        if waits.output.exists() and "ready" in waits.output.read_text():
            raise KeyError

    pool = Pool(deque([waits]), [CPU])
    with pytest.raises(KeyError):
        pool.run(show)
    assert "interrupted" in waits.output.read_text()


def test_signals_are_ours_again_afterwards(cell):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    ended([cell("a", "")])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.fixture
def gpus(monkeypatch):
    """gpus(4) makes it look as if there were four."""

    def make(count, visible=None):
        monkeypatch.setattr("torch.cuda.device_count", lambda: count)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return make


def test_devices(gpus, monkeypatch):
    gpus(4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert parse_devices("") == [Device("", {})]
    assert parse_devices("0, 3") == [
        Device("gpu 0", {"CUDA_VISIBLE_DEVICES": "0"}),
        Device("gpu 3", {"CUDA_VISIBLE_DEVICES": "3"}),
    ]
    assert parse_devices("cpu") == [CPU]


def test_two_on_the_cpu_share_its_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [device.environment["OMP_NUM_THREADS"] for device in parse_devices("cpu,cpu")] == ["4", "4"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert parse_devices("cpu,cpu")[0].environment["OMP_NUM_THREADS"] == "3"


def test_numbers_count_the_gpus_that_we_may_use(gpus):
    gpus(2, "5,7")
    assert [device.environment["CUDA_VISIBLE_DEVICES"] for device in parse_devices("0,1")] == ["5", "7"]


@pytest.mark.parametrize(
    ("count", "text", "expected"),
    [
        (0, "0", "'0' is not here; there is no GPU; say cpu."),
        (2, "0,2", "'2' is not here; there are the GPUs 0 to 1, and cpu."),
        (2, "gpu", "'gpu' is not here"),
        (2, "-1", "'-1' is not here"),
        (2, "9" * 5000, "is not here"),
    ],
)
def test_devices_that_are_not_there(gpus, count, text, expected):
    gpus(count)
    with pytest.raises(ConfigError) as caught:
        parse_devices(text)
    assert expected in str(caught.value)
