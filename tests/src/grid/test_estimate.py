from collections import deque

import pytest

from processor.definition import TASKS
from src.grid.devices import Device
from src.grid.estimate import Estimate
from src.grid.pool import Pool, Running
from src.report.read_runs import read_grid
from tests.src.grid.helpers import make_cells
from tests.src.report.helpers import finished

DEVICE = Device("cpu", {})


def make(tmp_path, tasks="nsmc", seeds="1,2,3", *rest):
    return make_cells("tiny", tasks, seeds, ["--ckpt_dir", str(tmp_path), *rest], TASKS)


def estimate_of(tmp_path, cells):
    return Estimate.from_records(cells, read_grid(tmp_path, TASKS)[0])


def test_estimates_from_finished_runs(tmp_path):
    """Training took 60 s and 100 s, everything else 40 s each: 120 s per run; paws is unknown."""
    finished(tmp_path, model="tiny", seed=1, seconds=60.0)
    finished(tmp_path, model="tiny", seed=2, seconds=100.0)
    (finished(tmp_path, model="tiny", seed=3).folder / "cost.json").unlink()
    cells = make(tmp_path, "nsmc,paws", "4,5,6")
    estimate = estimate_of(tmp_path, cells)
    assert estimate.time(cells, 1) == (pytest.approx(3 * 120), 3)
    assert estimate.time(cells, 2) == (pytest.approx(1.5 * 120), 3)
    assert estimate.time(cells, 4) == (pytest.approx(120), 3)  # more devices do not make a run faster
    size = sum(path.stat().st_size for seed in (1, 2) for path in (tmp_path / f"benchmark/tiny/nsmc/seed-{seed}").iterdir()) / 2
    assert estimate.disk(cells) == pytest.approx(3 * size)
    assert estimate.time([], 1) == (0, 0)
    assert estimate.devices == {"a GPU"}


def test_ignores_runs_with_other_settings(tmp_path):
    finished(tmp_path, model="tiny", seed=1, rest=("--max_steps", "5"))
    cells = make(tmp_path)
    assert estimate_of(tmp_path, cells).time(cells, 1) == (0, 3)
    cells = make(tmp_path, "nsmc", "1,2", "--max_steps", "5", "--data_dir", "elsewhere")
    assert estimate_of(tmp_path, cells).time(cells, 1) == (0, 2)
    cells = make(tmp_path, "nsmc", "1,2", "--max_steps", "5")
    assert estimate_of(tmp_path, cells).time(cells, 1)[1] == 0


def test_remaining(tmp_path, stopped_clock):
    """A run takes 100 s. One has run for 40 s, one is waiting: 160 s on one device. paws is unknown."""
    cells = make(tmp_path)
    estimate = Estimate()
    running = Running(cells[0], DEVICE, stopped_clock - 40)
    pool = Pool(deque(cells[1:2]), [DEVICE], [running])
    assert estimate.remaining(pool) == ""
    estimate.add(cells[0], 100.0)
    assert estimate.remaining(pool) == "2:40 left"
    pool.waiting.extend(make(tmp_path, "paws", "1,2"))
    assert estimate.remaining(pool) == "2:40 and 2 runs of unknown length left"
